'use strict';
// Tells the supervisor of refusals that the program catches or ignores. Listens where Node itself announces sockets, requests and
// child processes; patches nothing, and adds only `errorMonitor` listeners, which do not count as handling an error.

const diagnostics = require('node:diagnostics_channel');
const { EventEmitter, errorMonitor } = require('node:events');
const {
  JSONStringify, Number, RegExpPrototypeExec, SafeSet, SetPrototypeAdd, SetPrototypeHas, uncurryThis,
} = require('./intrinsics.js');
const { denialOf, noteDestination } = require('./grants.js');

const DENIED = 4;
/** A program that is refused in a loop is told about once per grant, and about so many grants. */
const MAX_DENIALS = 100;

const prependListener = uncurryThis(EventEmitter.prototype.prependListener);

/** The denials of one run, each sent once. */
class Denials {
  #native;
  #policy = null;
  #told = new SafeSet();
  #count = 0;

  constructor(native) {
    this.#native = native;
  }

  /** From now on errors are held against this policy. */
  judgeBy(policy) {
    this.#policy = policy;
  }

  /** Sends the denial behind `error`, if there is one that has not been sent. */
  report(error) {
    if (this.#policy === null) return;
    const denial = denialOf(error, this.#policy);
    if (denial !== null) this.send(denial);
  }

  send({ action, target, grant }) {
    if (this.#count >= MAX_DENIALS || SetPrototypeHas(this.#told, grant)) return;
    SetPrototypeAdd(this.#told, grant);
    this.#count++;
    this.#native.send(DENIED, `{"action":${JSONStringify(action)},"target":${JSONStringify(target)},"grant":${JSONStringify(grant)}}`);
  }
}

const portOfHeader = /:(\d+)$/;

/**
 * Subscribes to Node's announcements. Done at boot: a subscription costs nothing until something is announced.
 * @param {Denials} denials
 */
function observe(denials) {
  const listen = (emitter) => prependListener(emitter, errorMonitor, (error) => denials.report(error));
  const on = (channel, observer) => diagnostics.subscribe(channel, (message) => {
    try {
      observer(message);
    } catch {
      // Announcements come with objects of the program's making. What cannot be read is not reported; nothing else changes.
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
