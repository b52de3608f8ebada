await new Promise((resolve, reject) => setTimeout(() => reject(new Error('rejected at top level')), 5));
