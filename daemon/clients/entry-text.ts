// How a new entry of a rule file is written: keys in their order, quotes only where YAML needs them. Pure.
import { stringify } from 'yaml';
import type { Data } from '../config/yaml-source.ts';

/** Keys and values of a client or an allow entry, in the order in which they stand. A list is written in brackets. */
export type Entry = readonly (readonly [key: string, value: string | number | boolean | readonly string[]])[];

/** What a reader makes of it. */
export function entryData(entry: Entry): Data {
  return Object.fromEntries(entry);
}

/** `- name: alice` and the lines below it, each with its line end. `indent` stands before the dash. */
export function blockLines(entry: Entry, indent: string, eol: string): string {
  return entry.map(([key, value], at) => `${indent}${at === 0 ? '- ' : '  '}${key}: ${written(value)}${eol}`).join('');
}

/** The entry within brackets; as JSON for a file that is JSON. */
export function flowText(entry: Entry, json: boolean): string {
  return `{ ${entry.map(([key, value]) => `${json ? JSON.stringify(key) : key}: ${inBrackets(value)}`).join(', ')} }`;
}

function written(value: Entry[number][1]): string {
  if (Array.isArray(value)) return `[${value.map((item) => scalar(item, true)).join(', ')}]`;
  return typeof value === 'string' ? scalar(value, false) : String(value);
}

function inBrackets(value: Entry[number][1]): string {
  // JSON is right everywhere within brackets.
  return Array.isArray(value) ? `[${value.map((item) => JSON.stringify(item)).join(', ')}]` : JSON.stringify(value);
}

function scalar(text: string, inFlow: boolean): string {
  // Within brackets commas and brackets would end it.
  if (inFlow && !/^[A-Za-z0-9./-]+$/.test(text)) return JSON.stringify(text);
  return stringify(text, { version: '1.2', schema: 'core', lineWidth: 0 }).trimEnd();
}
