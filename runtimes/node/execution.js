'use strict';
// One execution in this process: what it was activated with, and its way to the supervisor. Every
// frame of an execution carries its id. The library drops frames of an execution that has ended.

class Execution {
  #native;
  #id;

  /**
   * @param {object} native the native library, after it has received `activation`
   * @param {object} activation
   */
  constructor(native, activation) {
    this.#native = native;
    this.#id = native.execution();
    this.activation = activation;
  }

  /** Sends a frame: a kind, and text or bytes. */
  send(kind, data) {
    this.#native.send(this.#id, kind, data);
  }

  /** Returns the descriptor of a socket for one call, or undefined if too many are open. */
  openCall() {
    return this.#native.openCall(this.#id);
  }

  /** Ends the execution with its report, once. */
  end(report) {
    this.#native.end(this.#id, report);
  }
}

module.exports = { Execution };
