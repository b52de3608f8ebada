// Dates in zones and languages.
const { DateTime, Duration, Interval } = require('luxon');

module.exports = () => ({
  value: {
    zone: DateTime.fromISO('2024-07-01T12:00', { zone: 'Europe/Berlin' }).toUTC().toISO(),
    month: DateTime.fromISO('2024-01-31').plus({ months: 1 }).toISODate(),
    french: DateTime.fromISO('2024-02-29').setLocale('fr').toFormat('cccc d LLLL'),
    days: Interval.fromDateTimes(DateTime.fromISO('2024-02-01'), DateTime.fromISO('2024-03-01')).length('days'),
    duration: Duration.fromISO('PT90M').toFormat('h:mm'),
  },
  random: [Math.random()],
});
