// Adds, compares and formats dates.
import { addMonths, differenceInBusinessDays, eachWeekOfInterval, format, formatDistance, parseISO } from 'date-fns';
import { de } from 'date-fns/locale';

export default () => ({
  value: {
    month: format(addMonths(parseISO('2024-01-31'), 1), 'yyyy-MM-dd'),
    german: format(parseISO('2024-02-29'), 'EEEE, d. MMMM', { locale: de }),
    business: differenceInBusinessDays(parseISO('2024-02-29'), parseISO('2024-02-01')),
    weeks: eachWeekOfInterval({ start: parseISO('2024-02-01'), end: parseISO('2024-02-29') }).length,
    distance: formatDistance(parseISO('2024-02-01'), parseISO('2024-02-29')),
  },
  random: [Math.random()],
});
