// Statistics over arrays.
import { bin, group, mean, quantile, range, rollup, shuffle, sum } from 'd3-array';

export default () => {
  const values = range(1000);
  return {
    value: { mean: mean(values), quantile: quantile(values, 0.9), bins: bin().thresholds(10)(values).length, groups: group(values, (x) => x % 3).size, sums: [...rollup(values, (all) => sum(all), (x) => x % 2).values()] },
    random: [shuffle(range(30)).join(), Math.random()],
  };
};
