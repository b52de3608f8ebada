const attempts = {};
const attempt = (name, action) => {
  try {
    attempts[name] = `done: ${String(action())}`;
  } catch (error) {
    attempts[name] = String(error?.code ?? error?.name ?? error);
  }
};
const attemptAsync = async (name, action) => {
  try {
    attempts[name] = `done: ${String(await action())}`;
  } catch (error) {
    attempts[name] = String(error?.code ?? error?.name ?? error);
  }
};
const fs = require('node:fs');
