'use strict';
// What a fork leaves wrong about "this process": its pid, its random numbers and its processors.

const os = require('node:os');
const process = require('node:process');
const v8 = require('node:v8');
const {
  Number, ObjectDefineProperty, ObjectGetOwnPropertyDescriptor, ReflectApply,
} = require('./intrinsics.js');

/** process.pid and process.ppid, which Node read when the zygote booted. */
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
 * Seeds Math.random. V8 draws its state in a context's first Math.random, from this flag: it has an effect exactly once, and only
 * where nothing has drawn before, which is why nothing in the driver or its boot may.
 * @param {number} seed a positive 31-bit integer: V8 takes 0 for "from the system", which is the zygote's generator
 */
function seedMathRandom(seed) {
  v8.setFlagsFromString(`--random-seed=${seed}`);
}

/**
 * Has Math.random draw from the kernel until what this returns is called, so that V8's own state is still to be seeded afterwards. Who keeps
 * the function that it found has V8's from then on.
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
 * Node draws for these two ahead, 128 at a time and 1,024: if a package has used one in the zygote, every sandbox would have what is left.
 * To be taken before packages can change them. Not loaded where it is not needed: it costs a start 6 ms.
 * @returns {() => void} throws away what is left
 */
function takeCachedRandomness() {
  const { randomInt, randomUUID } = require('node:crypto');
  return () => {
    for (let count = 0; count < 128; count++) randomUUID();
    for (let count = 0; count < 1024; count++) randomInt(2 ** 48 - 1);
  };
}

/** Any integer as a seed that V8 takes, different for different seeds below 2^31 - 1. */
function seedFromRequest(seed) {
  return (Math.abs(Math.trunc(Number(seed))) % 0x7fffffff) || 0x7fffffff;
}

/** os.cpus(), where /proc shows no processors. `cpus` comes from boot.json. */
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
