'use strict';
// Notes for the author of the program: facts that do not change the status of the run.

const { SafeSet, SetPrototypeAdd, SetPrototypeHas, StringPrototypeSlice, StringPrototypeToWellFormed } = require('./intrinsics.js');

const NOTE = 9;
/** Maximum number of notes that the supervisor keeps. */
const MAX_NOTES = 32;
/**
 * Maximum length of a note in UTF-16 code units, each at most three bytes of UTF-8: within the
 * supervisor's 1,000.
 */
const MAX_UNITS = 330;

/** The notes of one execution, each sent once. */
class Notes {
  #execution;
  #sent = new SafeSet();
  #count = 0;

  constructor(execution) {
    this.#execution = execution;
  }

  /** Sends a note, a single short sentence. */
  add(text) {
    if (this.#count >= MAX_NOTES || SetPrototypeHas(this.#sent, text)) return;
    SetPrototypeAdd(this.#sent, text);
    this.#count++;
    const short = text.length > MAX_UNITS ? `${StringPrototypeSlice(text, 0, MAX_UNITS - 1)}\u2026` : text;
    this.#execution.send(NOTE, StringPrototypeToWellFormed(short));
  }
}

module.exports = { Notes };
