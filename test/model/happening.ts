// What every command of a history does: it happens to the world and to the model, and then the two are held against each other.
import type { AsyncCommand } from 'fast-check';
import { compare } from './compare.ts';
import type { Model } from './model.ts';
import type { World } from './world.ts';

/** How often what happened in all histories of this process: a run that shows nothing must not pass for one that does. */
export const tally = new Map<string, number>();

export function count(what: string): void {
  tally.set(what, (tally.get(what) ?? 0) + 1);
}

export abstract class Happening implements AsyncCommand<Model, World, true> {
  protected abstract readonly name: string;
  protected said = '';

  /** Whether it means anything now; a history leaves out what does not. */
  protected isPossible(_model: Readonly<Model>): boolean {
    return true;
  }

  async check(model: Readonly<Model>): Promise<boolean> {
    return this.isPossible(model);
  }

  async run(model: Model, world: World): Promise<void> {
    count(this.name);
    await this.happen(model, world);
    try {
      await compare(model, world);
    } catch (error) {
      throw new Error(
        `after ${this.toString()}: ${String((error as Error).message)}\nthe daemon's last lines:\n${world.log.split('\n').slice(-12).join('\n')}`,
        { cause: error },
      );
    }
  }

  protected abstract happen(model: Model, world: World): Promise<void>;

  toString(): string {
    return this.said === '' ? this.name : `${this.name} ${this.said}`;
  }
}

/** The one that a number stands for, however many there are. */
export function one<T>(of: readonly T[], at: number): T {
  const found = of[at % of.length];
  if (found === undefined) throw new Error('nothing to choose from');
  return found;
}
