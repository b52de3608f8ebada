// Dates, with plugins for zones and durations.
const dayjs = require('dayjs');
dayjs.extend(require('dayjs/plugin/utc'));
dayjs.extend(require('dayjs/plugin/timezone'));
dayjs.extend(require('dayjs/plugin/duration'));
dayjs.extend(require('dayjs/plugin/relativeTime'));

module.exports = () => ({
  value: {
    month: dayjs('2024-01-31').add(1, 'month').format('YYYY-MM-DD'),
    zone: dayjs.tz('2024-07-01 12:00', 'Europe/Berlin').utc().format(),
    duration: dayjs.duration(90, 'minutes').humanize(),
    week: dayjs('2024-02-29').format('dddd'),
  },
  random: [Math.random()],
});
