package schedule

import (
	"fmt"
	"strings"
	"time"
)

// CheckAssociation gives every fault of when an association runs: of its schedule, which may be empty, its time zone and
// its offset. Associations run less freely than windows (SSM §5.1): a cron every half hour, every 1, 2, 4, 8 or 12
// hours, daily, weekly, or on the n-th or last weekday of a month; a rate from 30 minutes to less than 31 days.
func CheckAssociation(expr, zone string, offset int) Faults {
	where, faults := findZone(zone)
	if where == nil {
		where = time.UTC
	}
	if expr == "" {
		return faults
	}
	s, wrong := parse(expr, where, offset, nil, nil)
	if len(wrong) > 0 {
		return append(wrong, faults...)
	}
	kind, body, _ := split(expr)
	switch kind {
	case "cron":
		faults = append(faults, associationCron(fields(strings.ToUpper(body)))...)
	case "rate":
		if step := s.source.(rate).step; step < 30*minute || step >= 31*day {
			faults = append(faults, Fault{"schedule", fmt.Sprintf("%s is not from 30 minutes to less than 31 days, as the rate of an association is", expr)})
		}
	}
	return faults
}

// associationCron names each field of a cron that SSM does not take for an association. The words are right by themselves.
func associationCron(words []string) Faults {
	var faults Faults
	wrong := func(format string, args ...any) {
		faults = append(faults, Fault{"schedule", "in an association " + fmt.Sprintf(format, args...)})
	}
	if len(words) == 7 {
		if words[0] != "0" {
			wrong("seconds are 0, not %s", words[0])
		}
		words = words[1:]
	}
	minutes, hours, dom, month, dow := words[0], words[1], words[2], words[3], words[4]
	_, plainMinute := number(minutes)
	_, plainHour := number(hours)
	_, step, stepped := strings.Cut(hours, "/")
	hourly := hours == "*" || stepped
	half := strings.HasSuffix(minutes, "/30") && !strings.ContainsAny(minutes, ",-")
	switch {
	case half && hours == "*", plainMinute && plainHour:
	case half:
		wrong("minutes %s go with hours *, not %s: every half hour of the day", minutes, hours)
	case !plainMinute:
		wrong("minutes are one number, or 0/30 for every half hour, not %s", minutes)
	case strings.ContainsAny(hours, ",-") || !hourly:
		wrong("hours are one number, or every 1, 2, 4, 8 or 12 as in 0/4, not %s", hours)
	case stepped && step != "1" && step != "2" && step != "4" && step != "8" && step != "12":
		wrong("hours come every 1, 2, 4, 8 or 12, not every %s", step)
	}
	if !anyDay(dom) {
		wrong("day of month is ? or *, not %s; SUNL is the last Sunday of a month, SUN#1 the first", dom)
	}
	if month != "*" {
		wrong("month is *, not %s", month)
	}
	switch {
	case anyDay(dow):
	case strings.ContainsAny(dow, ",-/"):
		wrong("day of week is one day, not %s; write an association for each, or let a window give the days", dow)
	case half || hourly:
		wrong("day of week %s goes with one time of day: what runs every hour runs every day", dow)
	}
	return faults
}
