package main

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"
	_ "time/tzdata" // hosts without zone files, Windows among them, know the same zones

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/reconciler/schedule"
)

// maxStarts bounds --count.
const maxStarts = 10000

func (a *app) scheduleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "schedule",
		Short:   "Try out the schedules of windows",
		Example: `  dunlin schedule next 'cron(0 2 ? * SUN *)' --tz Europe/Helsinki`,
		Args:    groupArgs,
		RunE:    a.needsCommand,
	}
	cmd.AddCommand(a.scheduleNextCommand())
	return cmd
}

// scheduleFlags are the flags of `dunlin schedule next`, as typed.
type scheduleFlags struct {
	zone, from, start string
	count, offset     int
}

func (a *app) scheduleNextCommand() *cobra.Command {
	var f scheduleFlags
	cmd := &cobra.Command{
		Use:   "next EXPR",
		Short: "Show when a schedule starts next",
		Long: `Show the next starts of cron(...), rate(...) or at(...), strictly after --from.
Days of the week count from 1, which is SUN; names are clearer.`,
		Example: `  Sundays at 02:00 in Helsinki:
    dunlin schedule next 'cron(0 2 ? * SUN *)' --tz Europe/Helsinki

  Two days after the second Tuesday of the month:
    dunlin schedule next 'cron(0 22 ? * TUE#2 *)' --offset 2 --count 12

  Every 12 hours, counted from a start:
    dunlin schedule next 'rate(12 hours)' --start 2027-01-01T06:00:00Z

  How a change of the clock is treated:
    dunlin schedule next 'cron(30 2 * * ? *)' --tz America/New_York --from 2027-03-13T00:00:00Z --count 3`,
		Args: exactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.scheduleNext(args[0], f) },
	}
	cmd.Flags().StringVar(&f.zone, "tz", "UTC", "time zone, an IANA name")
	cmd.Flags().StringVar(&f.from, "from", "", "show starts after this instant, RFC 3339 (default now)")
	cmd.Flags().IntVar(&f.count, "count", 5, "how many starts")
	cmd.Flags().IntVar(&f.offset, "offset", 0, "days after each start of a cron, 1 to 6")
	cmd.Flags().StringVar(&f.start, "start", "", "no start before this instant; a rate counts from it, RFC 3339 (default --from for a rate)")
	return cmd
}

// instantFlag reads an RFC 3339 flag; empty gives the fallback.
func instantFlag(name, text string, fallback time.Time) (time.Time, error) {
	if text == "" {
		return fallback, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, usageError{fmt.Errorf("--%s %q is not an instant such as 2027-01-31T02:00:00Z or 2027-01-31T02:00:00+02:00", name, text)}
	}
	return t, nil
}

func (a *app) scheduleNext(expr string, f scheduleFlags) error {
	if f.count < 1 || f.count > maxStarts {
		return usageError{fmt.Errorf("--count %d is not 1..%d", f.count, maxStarts)}
	}
	from, err := instantFlag("from", f.from, time.Now().UTC().Truncate(time.Second))
	if err != nil {
		return err
	}
	zone, err := schedule.Zone(f.zone)
	if err != nil {
		return exitWith{code: exitFaults, err: err, hint: "give --tz an IANA name"}
	}
	var start *time.Time
	if f.start != "" || len(expr) > 4 && expr[:5] == "rate(" {
		t, err := instantFlag("start", f.start, from)
		if err != nil {
			return err
		}
		start = &t
	}
	s, err := schedule.Parse(expr, zone, f.offset, start, nil)
	if err != nil {
		return exitWith{code: exitFaults, err: err, hint: scheduleHint(err)}
	}
	next := make([]time.Time, 0, min(f.count, 100))
	for t := from; len(next) < f.count; {
		n, ok := s.Next(t)
		if !ok {
			break
		}
		next = append(next, n)
		t = n
	}
	if a.json() {
		texts := make([]string, len(next))
		for i, t := range next {
			texts[i] = t.Format(time.RFC3339Nano)
		}
		return a.printJSON(struct {
			Next []string `json:"next"`
		}{texts})
	}
	return a.printStarts(next, zone, from, f.count)
}

// scheduleHint is a remedy for a fault of the expression itself.
func scheduleHint(err error) string {
	var faults schedule.Faults
	if errors.As(err, &faults) && faults[0].Field == "schedule" {
		return "for example cron(0 2 ? * SUN *), rate(12 hours) or at(2027-01-31T02:00:00); see dunlin schedule next --help"
	}
	return ""
}

// printStarts is the table for people: UTC, the clock of the zone, and how long from now.
func (a *app) printStarts(next []time.Time, zone *time.Location, from time.Time, count int) error {
	if len(next) > 0 {
		w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', 0)
		fmt.Fprintf(w, "UTC\t%s\tFROM %s\n", zone, from.UTC().Format(time.RFC3339))
		for _, t := range next {
			fmt.Fprintf(w, "%s\t%s\t%s\n", t.Format(time.RFC3339Nano), t.In(zone).Format("Mon 2006-01-02 15:04:05 MST"), distance(from, t))
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	switch {
	case len(next) == 0:
		a.note("no start after "+from.Format(time.RFC3339), "")
	case len(next) < count:
		a.note("no more starts after that", "")
	}
	return nil
}

// distance says how long from one instant to a later one, in its two largest units.
func distance(from, to time.Time) string {
	seconds := to.Unix() - from.Unix() // Sub ends at 292 years
	units := []struct {
		name string
		size int64
	}{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}}
	text, parts := "in", 0
	for _, u := range units {
		if n := seconds / u.size; n > 0 && parts < 2 {
			text += fmt.Sprintf(" %d%s", n, u.name)
			parts++
		} else if parts > 0 {
			break
		}
		seconds %= u.size
	}
	if parts == 0 {
		return "in less than a second"
	}
	return text
}
