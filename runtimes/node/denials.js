'use strict';
// Reports refused accesses to the supervisor, including those that the program catches or ignores.
// Listens where Node itself announces sockets, requests and child processes; patches nothing, and
// adds only `errorMonitor` listeners, which do not count as handling an error.

const diagnostics = require('node:diagnostics_channel');
const { EventEmitter, errorMonitor } = require('node:events');
const {
  JSONStringify, Number, RegExpPrototypeExec, SafeSet, SetPrototypeAdd, SetPrototypeHas, uncurryThis,
} = require('./intrinsics.js');
const { denialOf, noteDestination } = require('./grants.js');

const DENIED = 4;
/**
 * Maximum number of grants that are reported. A program that is refused in a loop is reported once
 * per grant.
 */
const MAX_DENIALS = 100;

const prependListener = uncurryThis(EventEmitter.prototype.prependListener);

/** The denials of the current execution, each sent once. */
class Denials {
  #execution = null;
  #reported = null;
  #count = 0;

  /** Compares errors with the policy of this execution from now on. */
  begin(execution) {
    this.#execution = execution;
    this.#reported = new SafeSet();
    this.#count = 0;
  }

  /** Sends the denial behind `error`, if there is one that has not been sent. */
  report(error) {
    if (this.#execution === null) return;
    const denial = denialOf(error, this.#execution.activation.policy);
    if (denial !== null) this.send(denial);
  }

  send({ action, target, grant }) {
    if (this.#count >= MAX_DENIALS || SetPrototypeHas(this.#reported, grant)) return;
    SetPrototypeAdd(this.#reported, grant);
    this.#count++;
    this.#execution.send(DENIED, `{"action":${JSONStringify(action)},"target":${JSONStringify(target)},"grant":${JSONStringify(grant)}}`);
  }
}

const portOfHeader = /:(\d+)$/;

/**
 * Subscribes to Node's announcements. Done at boot: a subscription costs nothing until something is
 * announced.
 * @param {Denials} denials
 */
function observe(denials) {
  const listen = (emitter) => prependListener(emitter, errorMonitor, (error) => denials.report(error));
  const on = (channel, observer) => diagnostics.subscribe(channel, (message) => {
    try {
      observer(message);
    } catch {
      // The program may have made the objects of an announcement. What cannot be read is not
      // reported; nothing else changes.
    }
  });
  on('net.client.socket', ({ socket }) => listen(socket));
  on('child_process', ({ process: child }) => listen(child));
  on('udp.socket', ({ socket }) => listen(socket));
  on('tracing:net.server.listen:error', ({ error }) => denials.report(error));
  on('http.client.request.error', ({ request, error }) => {
    const port = RegExpPrototypeExec(portOfHeader, request.getHeader('host'));
    noteDestination(error, request.host, port === null ? (request.protocol === 'https:' ? 443 : 80) : Number(port[1]));
    denials.report(error);
  });
  on('undici:client:connectError', ({ connectParams, error }) => {
    const port = connectParams.port === '' ? (connectParams.protocol === 'https:' ? 443 : 80) : Number(connectParams.port);
    noteDestination(error, connectParams.hostname, port);
    denials.report(error);
  });
}

module.exports = { Denials, observe };
