'use strict';
// Corrects the identity of a process after a fork: its pid, its random numbers and its processors.

const os = require('node:os');
const process = require('node:process');
const v8 = require('node:v8');
const {
  Number, ObjectDefineProperty, ObjectGetOwnPropertyDescriptor, ReflectApply,
} = require('./intrinsics.js');

/** Updates process.pid and process.ppid, which Node read when the zygote booted. */
function redefinePid(native) {
  redefine('pid', native.pid());
  redefine('ppid', native.parentPid());
}

function redefine(name, value) {
  const descriptor = ObjectGetOwnPropertyDescriptor(process, name);
  ObjectDefineProperty(process, name, {
    __proto__: null, value, writable: descriptor.writable ?? false, enumerable: descriptor.enumerable, configurable: true,
  });
}

/**
 * Seeds Math.random. V8 draws its state in a context's first Math.random, from this flag: it has an
 * effect exactly once, and only where nothing has drawn before, which is why nothing in the driver
 * or its boot may.
 * @param {number} seed a positive 31-bit integer: V8 takes 0 for "from the system", which is the
 *   zygote's generator
 */
function seedMathRandom(seed) {
  v8.setFlagsFromString(`--random-seed=${seed}`);
}

/**
 * Makes Math.random draw from the kernel until the returned function is called, so that V8's own
 * state can still be seeded afterwards. A caller that keeps the function uses V8's generator from
 * then on.
 * @param {object} native of which only `randomSeed` is used: 31 bits
 * @returns {() => boolean} gives whether anything was drawn
 */
function spareMathRandom(native) {
  const descriptor = ObjectGetOwnPropertyDescriptor(Math, 'random');
  let isSpared = true;
  let isDrawn = false;
  const { random } = {
    random() {
      isDrawn = true;
      return isSpared ? (native.randomSeed() * 2 ** 21 + (native.randomSeed() >>> 10)) / 2 ** 52 : ReflectApply(descriptor.value, Math, []);
    },
  };
  ObjectDefineProperty(Math, 'random', { __proto__: null, ...descriptor, value: random });
  return () => {
    isSpared = false;
    ObjectDefineProperty(Math, 'random', { __proto__: null, ...descriptor });
    return isDrawn;
  };
}

/**
 * Prepares to discard Node's cached random values. Node draws values for these two functions in
 * advance, 128 and 1,024 at a time: if a package used one of them in the zygote, all sandboxes
 * would share the remaining values. To be called before packages can change the functions.
 * node:crypto is loaded only here, because loading it makes a start 6 ms slower.
 * @returns {() => void} discards the remaining values
 */
function takeCachedRandomness() {
  const { randomInt, randomUUID } = require('node:crypto');
  return () => {
    for (let count = 0; count < 128; count++) randomUUID();
    for (let count = 0; count < 1024; count++) randomInt(2 ** 48 - 1);
  };
}

/** Converts any integer to a seed that V8 accepts. Seeds below 2^31 - 1 stay different. */
function seedFromRequest(seed) {
  return (Math.abs(Math.trunc(Number(seed))) % 0x7fffffff) || 0x7fffffff;
}

/** Replaces os.cpus(), because /proc shows no processors. `cpus` comes from boot.json. */
function describeProcessors(cpus) {
  const original = os.cpus;
  os.cpus = {
    cpus() {
      const real = original();
      if (real.length > 0 || !cpus) return real;
      const described = [];
      for (let index = 0; index < cpus.length; index++) {
        const { model, speed } = cpus[index];
        described[index] = { model, speed, times: { user: 0, nice: 0, sys: 0, idle: 0, irq: 0 } };
      }
      return described;
    },
  }.cpus;
}

module.exports = {
  describeProcessors, redefinePid, seedFromRequest, seedMathRandom, spareMathRandom, takeCachedRandomness,
};
