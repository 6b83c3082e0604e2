package schema

import "testing"

func TestFromCrontab(t *testing.T) {
	for in, want := range map[string]string{
		"0 2 * * 0":         "cron(0 2 ? * SUN *)",
		"0 2 * * 7":         "cron(0 2 ? * SUN *)",
		"0 2 * * sun":       "cron(0 2 ? * SUN *)",
		"0 2 * * 1-5":       "cron(0 2 ? * MON-FRI *)",
		"*/5 2 1 jan *":     "cron(*/5 2 1 JAN ? *)",
		"0 2 * * *":         "cron(0 2 * * ? *)",
		"0 2 1 * 0":         "",
		"0 2 * * 5-7":       "",
		"0 2 * * 8":         "",
		"0 2 * * 10":        "",
		"0 2 * * */2":       "",
		"0 2 ? * SUN *":     "",
		"once a day at two": "",
		"0 2 * * (":         "",
		"":                  "",
	} {
		if got := FromCrontab(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
