package schedule

import "testing"

func TestCheckAssociation(t *testing.T) {
	for _, tt := range []struct {
		expr, zone string
		offset     int
		want       string
	}{
		// SSM's own examples for associations.
		{"cron(0/30 * * * ? *)", "UTC", 0, ""},
		{"cron(0 */30 * * * ? *)", "UTC", 0, ""},
		{"cron(0 0/1 * * ? *)", "UTC", 0, ""},
		{"cron(0 0/2 * * ? *)", "UTC", 0, ""},
		{"cron(0 0/4 * * ? *)", "UTC", 0, ""},
		{"cron(0 0/8 * * ? *)", "UTC", 0, ""},
		{"cron(0 0/12 * * ? *)", "UTC", 0, ""},
		{"cron(5 * * * ? *)", "UTC", 0, ""},
		{"cron(15 13 ? * * *)", "UTC", 0, ""},
		{"cron(15 13 ? * MON *)", "Europe/Helsinki", 0, ""},
		{"cron(30 23 ? * TUE#3 *)", "UTC", 2, ""},
		{"cron(0 0 ? * 3L *)", "UTC", 0, ""},
		{"rate(30 minutes)", "UTC", 0, ""},
		{"rate(30 days)", "UTC", 0, ""},
		{"rate(743 hours)", "UTC", 0, ""},
		{"at(2027-07-07T15:55:00)", "UTC", 0, ""},
		{"", "UTC", 0, ""},

		{"rate(29 minutes)", "UTC", 0, "schedule: rate(29 minutes) is not from 30 minutes to less than 31 days, as the rate of an association is"},
		{"rate(31 days)", "UTC", 0, "schedule: rate(31 days) is not from 30 minutes to less than 31 days, as the rate of an association is"},
		{"cron(0/15 * * * ? *)", "UTC", 0, "schedule: in an association minutes are one number, or 0/30 for every half hour, not 0/15"},
		{"cron(0/30 8 ? * * *)", "UTC", 0, "schedule: in an association minutes 0/30 go with hours *, not 8: every half hour of the day"},
		{"cron(0 0/3 * * ? *)", "UTC", 0, "schedule: in an association hours come every 1, 2, 4, 8 or 12, not every 3"},
		{"cron(0 8,20 * * ? *)", "UTC", 0, "schedule: in an association hours are one number, or every 1, 2, 4, 8 or 12 as in 0/4, not 8,20"},
		{"cron(0 8-17/4 * * ? *)", "UTC", 0, "schedule: in an association hours are one number, or every 1, 2, 4, 8 or 12 as in 0/4, not 8-17/4"},
		{"cron(0 2 L * ? *)", "UTC", 0, "schedule: in an association day of month is ? or *, not L; SUNL is the last Sunday of a month, SUN#1 the first"},
		{"cron(0 2 ? 3 SUN *)", "UTC", 0, "schedule: in an association month is *, not 3"},
		{"cron(0 18 ? * MON-FRI *)", "UTC", 0, "schedule: in an association day of week is one day, not MON-FRI; write an association for each, or let a window give the days"},
		{"cron(0 * ? * MON *)", "UTC", 0, "schedule: in an association day of week MON goes with one time of day: what runs every hour runs every day"},
		{"cron(30 0 2 ? * * *)", "UTC", 0, "schedule: in an association seconds are 0, not 30"},
		// What is wrong in any schedule comes first, and alone.
		{"cron(0 2 ? * 8 *)", "UTC", 0, "schedule: day of week 8 is not 1..7 (1 is SUN) or SUN..SAT"},
		{"cron(0 2 30 2 ? *)", "UTC", 0, "schedule: cron(0 2 30 2 ? *) never fires from 1970 to 2199"},
		{"rate(1 day)", "UTC", 2, "offset: only with cron(...); schedule is rate(1 day)"},
		{"rate(1 day)", "Europe/Helsingfors", 0, `timezone: no time zone "Europe/Helsingfors"; an IANA name such as "Europe/Helsinki" is wanted`},
		{"", "Nowhere", 0, `timezone: no time zone "Nowhere"; an IANA name such as "Europe/Helsinki" is wanted`},
	} {
		got := ""
		if f := CheckAssociation(tt.expr, tt.zone, tt.offset); len(f) > 0 {
			got = f.Error()
		}
		if got != tt.want {
			t.Errorf("CheckAssociation(%q, %q, %d) = %q, want %q", tt.expr, tt.zone, tt.offset, got, tt.want)
		}
	}
}
