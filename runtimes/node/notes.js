'use strict';
// Notes for the writer of the program: facts that do not change how it ended.

const { SafeSet, SetPrototypeAdd, SetPrototypeHas, StringPrototypeSlice, StringPrototypeToWellFormed } = require('./intrinsics.js');

const NOTE = 9;
/** What the supervisor keeps. */
const MAX_NOTES = 32;
/** Of UTF-16, at most three bytes of UTF-8 each: within the supervisor's 1,000. */
const MAX_UNITS = 330;

/** The notes of one run, each sent once. */
class Notes {
  #native;
  #sent = new SafeSet();
  #count = 0;

  constructor(native) {
    this.#native = native;
  }

  /** Sends a note, one short sentence. */
  add(text) {
    if (this.#count >= MAX_NOTES || SetPrototypeHas(this.#sent, text)) return;
    SetPrototypeAdd(this.#sent, text);
    this.#count++;
    const short = text.length > MAX_UNITS ? `${StringPrototypeSlice(text, 0, MAX_UNITS - 1)}\u2026` : text;
    this.#native.send(NOTE, StringPrototypeToWellFormed(short));
  }
}

module.exports = { Notes };
