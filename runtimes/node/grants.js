'use strict';
// Maps an error that the kernel caused to the grant that would have prevented it. It decides
// nothing and changes no error. The text is written for the model that wrote the program: the
// refused access, and the grant to request.

const path = require('node:path');
const process = require('node:process');
const {
  ArrayIsArray, JSONStringify, RegExpPrototypeExec, StringPrototypeIncludes,
  StringPrototypeStartsWith, WeakMap, WeakMapPrototypeGet, WeakMapPrototypeSet,
} = require('./intrinsics.js');

/**
 * Paths that every sandbox has of its own. A file that is missing there does not exist, and no
 * grant would add it.
 */
const ownTrees = ['/home/user', '/tmp', '/dev', '/proc', '/sys', '/usr', '/lib', '/lib32', '/lib64', '/bin', '/sbin', '/opt/belljar',
  path.dirname(path.dirname(process.execPath))];

/**
 * The destinations of errors, reported by the library that was connecting: errors of name
 * resolution do not contain the port.
 */
const destinations = new WeakMap();

/** Remembers that `error` happened while connecting to `host:port`. */
function noteDestination(error, host, port) {
  if (error !== null && typeof error === 'object') {
    WeakMapPrototypeSet(destinations, error, { __proto__: null, host, port });
  }
}

/**
 * @typedef {{action: string, target: string, grant: string, hint: string}} Denial
 * @param {unknown} error
 * @param {object} policy the effective policy of the run
 * @returns {Denial | null} null when the error is no denial, or a granted thing failed for another
 *   reason
 */
function denialOf(error, policy) {
  if (error === null || typeof error !== 'object') return null;
  try {
    const { code, syscall } = error;
    if (typeof code !== 'string' || typeof syscall !== 'string') return null;
    if (StringPrototypeStartsWith(syscall, 'spawn')) return execDenial(error, code, policy);
    if (RegExpPrototypeExec(networkCalls, syscall) !== null) return networkDenial(error, code, syscall, policy);
    return fileDenial(error, code, syscall, policy);
  } catch {
    return null; // a hostile error: a getter threw
  }
}

/** Returns the first denial among an error, its causes and its members, outermost first. */
function denialWithin(error, policy, depth = 0) {
  const denial = denialOf(error, policy);
  if (denial !== null || depth >= 5 || error === null || typeof error !== 'object') return denial;
  try {
    const cause = denialWithin(error.cause, policy, depth + 1);
    if (cause !== null) return cause;
    const errors = error.errors;
    for (let index = 0; ArrayIsArray(errors) && index < errors.length && index < 10; index++) {
      const member = denialWithin(errors[index], policy, depth + 1);
      if (member !== null) return member;
    }
  } catch {
    // a hostile error
  }
  return null;
}

function execDenial(error, code, policy) {
  if (policy.exec || (code !== 'EACCES' && code !== 'EPERM')) return null;
  const target = typeof error.path === 'string' ? error.path : 'a program';
  return denial('exec', target, 'running programs', 'exec: true');
}

const networkCalls = /^(?:connect|bind|listen|send|getaddrinfo|getnameinfo|query[A-Za-z]+)$/;
const resolving = /^(?:getaddrinfo|getnameinfo|query[A-Za-z]+)$/;
const refusedConnect = /^(?:EACCES|EPERM|ENETUNREACH|EHOSTUNREACH|EAFNOSUPPORT)$/;
const refusedResolve = /^(?:EAI_AGAIN|EAI_FAIL|EAI_SYSTEM|ENOTFOUND|ECONNREFUSED|EACCES|EPERM|ETIMEOUT|ESERVFAIL)$/;
const loopbackHost = /^(?:localhost|.*\.localhost|127\.\d+\.\d+\.\d+|::1|::ffff:127\..*|0\.0\.0\.0|::)$/;

function networkDenial(error, code, syscall, policy) {
  if (RegExpPrototypeExec(resolving, syscall) !== null) {
    const host = error.hostname;
    if (typeof host !== 'string' || RegExpPrototypeExec(refusedResolve, code) === null) return null;
    const destination = WeakMapPrototypeGet(destinations, error);
    if (destination !== undefined) return connectDenial(destination.host, destination.port, policy);
    if (RegExpPrototypeExec(loopbackHost, host) !== null) return connectDenial(host, undefined, policy);
    return denial('net.resolve', host, `network access to ${host}`, `net: [${JSONStringify(host)}]`);
  }
  if (RegExpPrototypeExec(refusedConnect, code) === null) return null;
  const { address, port } = error;
  if (syscall === 'bind' || syscall === 'listen') {
    // A path is a Unix socket, which is subject to the grants of files.
    if (policy.loopback || (typeof address === 'string' && StringPrototypeStartsWith(address, '/'))) return null;
    const target = typeof port === 'number' ? hostAndPort(typeof address === 'string' ? address : '0.0.0.0', port) : 'a port';
    return denial('net.listen', target, `listening on ${target}`, 'loopback: true');
  }
  if (typeof address !== 'string' || typeof port !== 'number') return null;
  const destination = WeakMapPrototypeGet(destinations, error);
  return connectDenial(destination === undefined ? address : destination.host, port, policy);
}

function connectDenial(host, port, policy) {
  const target = typeof port === 'number' ? hostAndPort(host, port) : host;
  if (RegExpPrototypeExec(loopbackHost, host) !== null) {
    return policy.loopback ? null : denial('net.connect', target, `network access to ${target}`, 'loopback: true');
  }
  // A grant without a port means 443.
  const asked = port === 443 ? host : target;
  return denial('net.connect', target, `network access to ${target}`, `net: [${JSONStringify(asked)}]`);
}

function hostAndPort(host, port) {
  return StringPrototypeIncludes(host, ':') ? `[${host}]:${port}` : `${host}:${port}`;
}

const refusedFile = /^(?:EACCES|EPERM|EROFS|ENOENT)$/;
const writingCalls = /^(?:mkdir|mkdtemp|unlink|rmdir|rm|rename|link|symlink|truncate|ftruncate|chmod|lchmod|fchmod|chown|lchown|fchown|utime|utimes|lutimes|futime|write|copyfile|cp)$/;
// Synchronous calls leave their name in the stack, which distinguishes a refused read from a
// refused write; the errno does not.
const writingFrames = /at (?:\S+\.)?(?:writeFile|appendFile|createWriteStream|mkdir|cp|copyFile|truncate)(?:Sync)? \(node:/;

function fileDenial(error, code, syscall, policy) {
  if (RegExpPrototypeExec(refusedFile, code) === null || typeof error.path !== 'string') return null;
  const named = typeof error.dest === 'string' && isOwn(path.resolve(error.path), policy.fs.read) ? error.dest : error.path;
  const file = path.resolve(named);
  const stack = error.stack;
  const writes = code === 'EROFS' || RegExpPrototypeExec(writingCalls, syscall) !== null
    || (typeof stack === 'string' && RegExpPrototypeExec(writingFrames, stack) !== null);
  if (isOwn(file, none) && code !== 'EROFS') return null;
  if (isUnder(file, policy.fs.write)) return null;
  if (writes) return denial('fs.write', file, `writing ${file}`, `fs.write: [${JSONStringify(file)}]`);
  if (isUnder(file, policy.fs.read)) return null;
  return denial('fs.read', file, `reading ${file}`, `fs.read: [${JSONStringify(file)}]`);
}

const none = [];

function isOwn(file, granted) {
  return file === '/' || isUnder(file, ownTrees) || isUnder(file, granted);
}

function isUnder(file, folders) {
  if (!ArrayIsArray(folders)) return false;
  for (let index = 0; index < folders.length; index++) {
    const folder = folders[index];
    if (file === folder || StringPrototypeStartsWith(file, folder === '/' ? '/' : `${folder}/`)) return true;
  }
  return false;
}

function denial(action, target, what, grant) {
  // No policy can name a host yet. Do not send the reader to ask for what will be refused.
  const advice = StringPrototypeStartsWith(grant, 'net:')
    ? 'this version of Belljar gives programs no network, so pass the data in a file'
    : `grant it with ${grant}`;
  return { __proto__: null, action, target, grant, hint: `${what} is not granted; ${advice}` };
}

module.exports = { denialOf, denialWithin, noteDestination };
