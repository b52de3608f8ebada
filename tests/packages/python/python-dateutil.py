# Parses dates, adds months, repeats by rules and knows zones.
import random
from datetime import datetime

from dateutil import parser, rrule, tz
from dateutil.easter import easter
from dateutil.relativedelta import FR, relativedelta

start = datetime(2024, 1, 31)

{
    "value": {
        "parsed": parser.parse("Feb 29th 2024 5:30pm").isoformat(),
        "month": (start + relativedelta(months=1)).date().isoformat(),
        "friday": (start + relativedelta(weekday=FR(-1))).date().isoformat(),
        "rule": [day.strftime("%m-%d") for day in rrule.rrule(rrule.WEEKLY, count=3, byweekday=rrule.MO, dtstart=start)],
        "easter": easter(2024).isoformat(),
        "offset": datetime(2024, 7, 1, tzinfo=tz.gettz("Europe/Berlin")).utcoffset().total_seconds(),
    },
    "random": [random.random()],
}
