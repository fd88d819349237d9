// Charts as SVG, by hand: a plot with axes, units and a legend, legible on white and on black. Numbers in, text out.
import type { Axis, Chart } from './section.ts';

const WIDTH = 760;
const MARGIN = { left: 78, right: 40, top: 46, bottom: 56 } as const;
const PLOT_HEIGHT = 330;
const BAR = { pitch: 34, height: 18, left: 190, right: 150 } as const;
/** Told apart by people who see few colors too (Okabe and Ito), and by their dashes. */
const COLORS = ['#1f83c4', '#d55e00', '#009e73', '#cc79a7', '#a6851a', '#56b4e9', '#e69f00', '#7f7f7f', '#7b3fc4'] as const;
const DASHES = ['', '7 4', '2 3', '10 3 2 3', '5 2', '1 4', '12 4', '4 4', '8 2 2 2'] as const;

const STYLE = `
  .ground { fill: #ffffff } text { fill: #1f2328; font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
  .title { font-size: 15px; font-weight: 600 } .small { font-size: 12px } .axis { stroke: #59636e; fill: none } .grid { stroke: #d1d9e0; fill: none }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #e6edf3 } .axis { stroke: #9198a1 } .grid { stroke: #30363d }
  }`;

export function chartSvg(chart: Chart): string {
  return chart.kind === 'lines' ? linesSvg(chart) : barsSvg(chart);
}

/** Where a value lies between 0 and 1, and the values that are named on the axis. */
export type Scale = { readonly at: (value: number) => number; readonly ticks: readonly number[] };

/** Over the values, rounded outward to ticks. A logarithmic scale leaves out what is not above 0. */
export function scaleFor(values: readonly number[], kind: Axis['scale']): Scale {
  const usable = values.filter((value) => Number.isFinite(value) && (kind === 'linear' || value > 0));
  if (usable.length === 0) return { at: () => 0, ticks: [] };
  const [least, most] = [Math.min(...usable), Math.max(...usable)];
  if (kind === 'log') {
    const low = Math.floor(Math.log10(least));
    const high = Math.max(low + 1, Math.ceil(Math.log10(most)));
    const ticks = Array.from({ length: high - low + 1 }, (_, at) => 10 ** (low + at));
    return { at: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low), ticks };
  }
  const step = niceStep((most <= 0 ? 1 : most) / 5);
  const count = Math.max(1, Math.ceil(most / step - 1e-9));
  return { at: (value) => value / (count * step), ticks: Array.from({ length: count + 1 }, (_, at) => at * step) };
}

/** 1, 2 or 5 times a power of ten, at least so large. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= least - 1e-12) ?? 10);
}

export function tickText(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(6)));
}

function linesSvg(chart: Extract<Chart, { kind: 'lines' }>): string {
  const points = chart.series.flatMap((series) => series.points);
  const x = scaleFor(
    points.map((point) => point.x),
    chart.x.scale,
  );
  const y = scaleFor(
    points.flatMap((point) => point.y ?? []),
    chart.y.scale,
  );
  const legendHeight = Math.ceil(chart.series.length / 3) * 20;
  const height = MARGIN.top + PLOT_HEIGHT + MARGIN.bottom + legendHeight;
  const plotWidth = WIDTH - MARGIN.left - MARGIN.right;
  const px = (value: number): number => MARGIN.left + x.at(value) * plotWidth;
  const py = (value: number): number => MARGIN.top + (1 - y.at(value)) * PLOT_HEIGHT;
  const bottom = MARGIN.top + PLOT_HEIGHT;
  const parts = [
    ...y.ticks.map((tick) => line(MARGIN.left, py(tick), WIDTH - MARGIN.right, py(tick), 'grid')),
    ...y.ticks.map((tick) => text(MARGIN.left - 8, py(tick) + 4, tickText(tick), 'small', 'end')),
    ...x.ticks.map((tick) => line(px(tick), MARGIN.top, px(tick), bottom, 'grid')),
    ...x.ticks.map((tick) => text(px(tick), bottom + 18, tickText(tick), 'small', 'middle')),
    `<path class="axis" d="M${MARGIN.left} ${MARGIN.top}V${bottom}H${WIDTH - MARGIN.right}"/>`,
    text(MARGIN.left + plotWidth / 2, bottom + 40, chart.x.label, '', 'middle'),
    `<text text-anchor="middle" transform="translate(18 ${MARGIN.top + PLOT_HEIGHT / 2}) rotate(-90)">${escaped(chart.y.label)}</text>`,
  ];
  for (const [at, series] of chart.series.entries()) {
    const color = COLORS[at % COLORS.length] ?? '';
    const dash = DASHES[at % DASHES.length] ?? '';
    const drawn = series.points.filter((point) => point.y !== null && (chart.y.scale === 'linear' || point.y > 0));
    let path = '';
    let isBroken = true;
    for (const point of series.points) {
      if (!drawn.includes(point)) isBroken = true;
      else {
        path += `${isBroken ? 'M' : 'L'}${fixed(px(point.x))} ${fixed(py(point.y ?? 0))}`;
        isBroken = false;
      }
    }
    parts.push(`<path d="${path}" fill="none" stroke="${color}" stroke-width="2"${dash === '' ? '' : ` stroke-dasharray="${dash}"`}/>`);
    for (const point of drawn) parts.push(`<circle cx="${fixed(px(point.x))}" cy="${fixed(py(point.y ?? 0))}" r="3.5" fill="${color}"/>`);
    const [left, top] = [MARGIN.left + (at % 3) * 222, bottom + MARGIN.bottom + Math.floor(at / 3) * 20];
    const sample = `<path d="M${left} ${top}h26" stroke="${color}" stroke-width="2"${dash === '' ? '' : ` stroke-dasharray="${dash}"`}/>`;
    parts.push(
      sample,
      `<circle cx="${left + 13}" cy="${top}" r="3.5" fill="${color}"/>`,
      text(left + 32, top + 4, series.name, 'small', 'start'),
    );
  }
  return page(height, chart.title, parts);
}

function barsSvg(chart: Extract<Chart, { kind: 'bars' }>): string {
  const x = scaleFor(
    chart.bars.flatMap(({ value, mark }) => [value, mark ?? Number.NaN]),
    chart.x.scale,
  );
  const plotWidth = WIDTH - BAR.left - BAR.right;
  const bottom = MARGIN.top + chart.bars.length * BAR.pitch;
  const px = (value: number): number => BAR.left + x.at(value) * plotWidth;
  const parts = [
    ...x.ticks.map((tick) => line(px(tick), MARGIN.top, px(tick), bottom, 'grid')),
    ...x.ticks.map((tick) => text(px(tick), bottom + 18, tickText(tick), 'small', 'middle')),
    text(BAR.left + plotWidth / 2, bottom + 40, chart.x.label, '', 'middle'),
  ];
  for (const [at, { name, value, mark, text: says }] of chart.bars.entries()) {
    const middle = MARGIN.top + at * BAR.pitch + BAR.pitch / 2;
    const color = COLORS[name.startsWith('Postern') ? 0 : 1];
    parts.push(text(BAR.left - 8, middle + 4, name, '', 'end'));
    const isShown = Number.isFinite(value) && (chart.x.scale === 'linear' || value > 0);
    // The length of a bar means nothing where the axis does not begin at 0: a point then.
    if (isShown && chart.x.scale === 'log') parts.push(`<circle cx="${fixed(px(value))}" cy="${middle}" r="6" fill="${color}"/>`);
    if (isShown && chart.x.scale === 'linear') {
      const width = Math.max(1, px(value) - BAR.left);
      parts.push(`<rect x="${BAR.left}" y="${middle - BAR.height / 2}" width="${fixed(width)}" height="${BAR.height}" fill="${color}"/>`);
    }
    if (mark !== undefined && Number.isFinite(mark))
      parts.push(line(px(value), middle, px(mark), middle, 'axis'), line(px(mark), middle - 6, px(mark), middle + 6, 'axis'));
    parts.push(text(WIDTH - BAR.right + 12, middle + 4, says, 'small', 'start'));
  }
  parts.push(`<path class="axis" d="M${BAR.left} ${MARGIN.top}V${bottom}H${WIDTH - BAR.right}"/>`);
  return page(bottom + MARGIN.bottom, chart.title, parts);
}

function page(height: number, title: string, parts: readonly string[]): string {
  const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`;
  const ground = `<rect class="ground" width="${WIDTH}" height="${height}"/>`;
  const named = `<title>${escaped(title)}</title>`;
  return `${[head, named, `<style>${STYLE}\n</style>`, ground, text(20, 26, title, 'title', 'start'), ...parts, '</svg>'].join('\n')}\n`;
}

function text(x: number, y: number, says: string, kind: string, anchor: 'start' | 'middle' | 'end'): string {
  const shown = kind === '' ? '' : ` class="${kind}"`;
  return `<text x="${fixed(x)}" y="${fixed(y)}"${shown} text-anchor="${anchor}">${escaped(says)}</text>`;
}

function line(x1: number, y1: number, x2: number, y2: number, kind: string): string {
  return `<path class="${kind}" d="M${fixed(x1)} ${fixed(y1)}L${fixed(x2)} ${fixed(y2)}"/>`;
}

function fixed(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escaped(says: string): string {
  return says.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
