package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/reconciler/target"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// maxVersions is how many versions of a parameter are kept (SSM §10.1).
const maxVersions = 100

// minRecovery is how many keys of fleet.recovery a secret has at least.
const minRecovery = 2

type putFlags struct {
	repo, kind, description, pattern, expires, before, after string
	value                                                    valueFlags
	targets                                                  targetFlags
	labels                                                   []string
}

// valueFlags say where a value comes from.
type valueFlags struct {
	file string
	raw  bool
}

func (f *valueFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "value-file", "", "read the value from this file; - is standard input")
	cmd.Flags().BoolVar(&f.raw, "raw", false, "keep the line break at the end of a value of one line")
}

func (a *app) paramPutCommand() *cobra.Command {
	var f putFlags
	cmd := &cobra.Command{
		Use:   "put NAME [VALUE]",
		Short: "Write a value of a parameter as a new version",
		Long: `Write a new version of a parameter into the policy repository, parameters/NAME.cue or where
it stands, and change nothing else there. A parameter that is not there yet needs --type, and
a SecureString --target, which says who may read it; neither the type nor, by themselves,
the readers change later.

The value is read from standard input, or from --value-file; a String or StringList may also
stand on the command line, where every user of this host can see it while the command runs.
The line break that ends a value of one line is not a part of it; a value of several lines
is kept as it is. Values are text of at most 8192 bytes, without NUL and {{.

A SecureString is encrypted to the active nodes of the roster that its readers select, and
to fleet.recovery, which has at least two keys. 100 versions are kept: the next one removes
the oldest, unless that has a label. Nothing is written that makes the repository invalid.`,
		Example: `  dunlin param put /prod/web/port 8443 --type String --allowed-pattern '[0-9]+'
  pwgen -s 32 1 | dunlin param put /prod/db/password --type SecureString --target tag:role=db,web
  dunlin param put /prod/web/tls-key --value-file tls.key --label prod --expires 90d --notify-before 14d
  dunlin param put /prod/web/hosts web-1,web-2 --type StringList`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				if len(args) > 2 { // the arguments may be a value: they are not quoted
					return usageError{fmt.Errorf("%d arguments are given; write: %s, with a value of several words in quotes", len(args), cmd.UseLine())}
				}
				return wrongCount(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.paramPut(cmd.Context(), args, f) },
	}
	addRepo(cmd, &f.repo)
	f.value.add(cmd)
	f.targets.add(cmd)
	cmd.Flag("target").Usage = `who may read a SecureString: tag:role=web,api, os=debian, node=web-1, group=edge, resourceGroup=eu or all; "!" in front excludes; repeat for "and"`
	cmd.Flags().StringVar(&f.kind, "type", "", "of a new parameter: String, StringList or SecureString")
	cmd.Flags().StringVar(&f.description, "description", "", "what it is for")
	cmd.Flags().StringVar(&f.pattern, "allowed-pattern", "", "an RE2 expression that each value matches as a whole; checked before it is encrypted")
	cmd.Flags().StringArrayVar(&f.labels, "label", nil, "give the new version this label, taken from the version that has it")
	cmd.Flags().StringVar(&f.expires, "expires", "", "when it goes: an instant (RFC 3339), or a duration from now such as 90d; never takes it back")
	cmd.Flags().StringVar(&f.before, "notify-before", "", "how long before that people are told, such as 14d")
	cmd.Flags().StringVar(&f.after, "no-change-notify-after", "", "how long after the last change people are told that it is old, such as 90d")
	return cmd
}

func (a *app) paramPut(ctx context.Context, args []string, f putFlags) error {
	name := strings.TrimSpace(args[0])
	if err := load.CheckName("parameter", name); err != nil {
		return usageError{err}
	}
	if err := checkLabels(f.labels); err != nil {
		return err
	}
	if err := f.targets.check(); err != nil {
		return err
	}
	if len(args) == 2 && f.value.file != "" {
		return usageError{errors.New("a value and --value-file are both given; give one")}
	}
	if err := secret.Guard(); err != nil {
		return err
	}
	t, err := a.openParams(ctx, f.repo)
	if err != nil {
		return err
	}
	defer t.close()
	old, there := t.repo.Parameters[name]
	p, err := a.putFields(old, there, f)
	if err != nil {
		return err
	}
	if p.Type == schema.StoredSecureString && len(args) == 2 {
		return exitWith{code: exitUsage, err: fmt.Errorf("the value of %s is a secret and stands on the command line, where every user of this host can read it, and in the history of the shell; it was not used", name),
			hint: "choose another value, and give it by standard input or --value-file"}
	}
	var given []byte
	if len(args) == 2 {
		given = []byte(args[1])
	}
	value, err := a.readValue(name, given, f.value)
	if err != nil {
		return err
	}
	defer value.Wipe()
	if p.Type == schema.StoredSecureString && value.Len() < secret.MinRedacted {
		a.note(fmt.Sprintf("warning: a secret of less than %d bytes cannot be kept out of logs that a program writes it to", secret.MinRedacted), "")
	}
	number, sealed, err := t.addVersion(name, &p, value, f.labels, a.now())
	if err != nil {
		return err
	}
	dropped, err := dropOldest(name, &p)
	if err != nil {
		return err
	}
	if err := t.set(name, p); err != nil {
		return err
	}
	files, err := t.save(ctx)
	if err != nil {
		return err
	}
	if number, v := old.Current(); len(v.Recipients) > 0 {
		if more := t.newReaders(v.Recipients, sealed); len(more) > 0 {
			a.note(fmt.Sprintf("warning: it is encrypted also to %s, to which version %d was not", listed(more, 10), number),
				"where you do not know why, do not push it: git log -p fleet.cue groups nodes parameters says who changed what")
		}
	}
	return a.printPut(t, name, p, number, sealed, dropped, files)
}

// putFields is the parameter with what the flags say about it.
func (a *app) putFields(p schema.Parameter, there bool, f putFlags) (schema.Parameter, error) {
	kind := schema.StoredType(f.kind)
	switch {
	case f.kind != "" && !slices.Contains(kind.Words(), f.kind):
		return p, usageError{fmt.Errorf("--type %q is not one of %s", f.kind, strings.Join(kind.Words(), ", "))}
	case !there && f.kind == "":
		return p, usageError{errors.New("--type is missing: a new parameter is a String, a StringList or a SecureString")}
	case there && f.kind != "" && kind != p.Type:
		return p, exitWith{code: exitError, err: fmt.Errorf("it is a %s, and the type of a parameter does not change", p.Type), hint: "make another one, or remove this one first: dunlin param rm"}
	case !there:
		p = schema.Parameter{Type: kind}
	}
	secure := p.Type == schema.StoredSecureString
	switch {
	case len(f.targets) > 0 && !secure:
		return p, usageError{fmt.Errorf("--target says who may read a SecureString; a %s is readable for all", p.Type)}
	case len(f.targets) > 0:
		targets, err := target.Parse(f.targets)
		if err != nil {
			return p, usageError{err}
		}
		p.Readers = &targets
	case secure && p.Readers == nil:
		return p, usageError{errors.New("--target is missing: who may read the secret, such as --target tag:role=db")}
	}
	if f.description != "" {
		p.Description = f.description
	}
	if f.pattern != "" {
		p.AllowedPattern = f.pattern
	}
	return p, a.putPolicies(&p, f)
}

func (a *app) putPolicies(p *schema.Parameter, f putFlags) error {
	if f.expires == "" && f.before == "" && f.after == "" {
		return nil
	}
	var policies schema.ParameterPolicies
	if p.Policies != nil {
		policies = *p.Policies
	}
	switch f.expires {
	case "":
	case "never":
		policies.Expires, policies.NotifyBefore = nil, ""
	default:
		at, err := time.Parse(time.RFC3339, f.expires)
		if err != nil {
			d, durationErr := schema.ParseDuration(f.expires)
			if durationErr != nil {
				return usageError{fmt.Errorf("--expires %q is neither an instant such as 2027-06-01T00:00:00Z nor a duration such as 90d", f.expires)}
			}
			at = a.now().Add(d)
		}
		at = at.UTC().Truncate(time.Second)
		policies.Expires = &at
	}
	for _, d := range []struct {
		flag, text string
		into       *schema.Duration
	}{{"--notify-before", f.before, &policies.NotifyBefore}, {"--no-change-notify-after", f.after, &policies.NoChangeNotifyAfter}} {
		if d.text == "" {
			continue
		}
		if _, err := schema.ParseDuration(d.text); err != nil {
			return usageError{fmt.Errorf("%s: %w", d.flag, err)}
		}
		*d.into = schema.Duration(d.text)
	}
	if p.Policies = &policies; policies == (schema.ParameterPolicies{}) {
		p.Policies = nil
	}
	return nil
}

// readValue takes a value from where it is given. Nothing that goes wrong with it quotes it.
func (a *app) readValue(name string, given []byte, f valueFlags) (secret.Secret, error) {
	if err := secret.Guard(); err != nil {
		return secret.Secret{}, err
	}
	const most = secret.MaxValue + 2
	b := given
	var err error
	switch {
	case given != nil:
	case f.file != "" && f.file != "-":
		b, err = readLimited(f.file, most)
	case f.file == "" && a.typed():
		fmt.Fprintf(a.err, "value of %s (not shown): ", printable(name))
		b, err = term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(a.err)
	default:
		b, err = readAllLimited(a.in, "standard input", most)
	}
	if errors.Is(err, errTooLong) { // with room for a line break, which is not a part of it
		err = fmt.Errorf("put %s: more than %d bytes", name, secret.MaxValue)
	}
	if err != nil {
		return secret.Secret{}, err
	}
	if !f.raw {
		if one := bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r")); bytes.IndexByte(one, '\n') < 0 {
			b = one
		}
	}
	if err := secret.CheckValue(b); err != nil {
		clear(b)
		return secret.Secret{}, exitWith{code: exitError, err: fmt.Errorf("put %s: %w", name, err)}
	}
	return secret.New(name, b), nil
}

// typed reports whether a person types what standard input gives.
func (a *app) typed() bool {
	f, ok := a.in.(*os.File)
	return ok && f == os.Stdin && term.IsTerminal(int(f.Fd()))
}

// addVersion gives a parameter one more version. sealed are the keys that it is encrypted to.
func (t *paramTree) addVersion(name string, p *schema.Parameter, value secret.Secret, labels []string, now time.Time) (number int, sealed []string, err error) {
	if p.AllowedPattern != "" {
		re, err := regexp.Compile(`^(?:` + p.AllowedPattern + `)$`)
		if err != nil {
			return 0, nil, usageError{fmt.Errorf("allowed pattern: %w", err)}
		}
		if !re.Match(value.Reveal()) {
			return 0, nil, exitWith{code: exitError, err: fmt.Errorf("put %s: the value does not match its allowedPattern %s", name, p.AllowedPattern), hint: "the whole value has to match; a line break at its end is part of it with --raw"}
		}
	}
	last, _ := p.Current()
	number = last + 1
	at := now.UTC().Truncate(time.Second)
	v := schema.ParameterVersion{Created: &at}
	if p.Type == schema.StoredSecureString {
		if v.Value, v.Recipients, err = t.seal(name, *p, number, value); err != nil {
			return 0, nil, err
		}
	} else {
		v.Value = string(value.Reveal())
	}
	versions := map[string]schema.ParameterVersion{}
	for n, old := range p.Versions {
		versions[n] = old
	}
	versions[strconv.Itoa(number)] = v
	p.Versions = versions
	moveLabels(p, strconv.Itoa(number), labels)
	return number, v.Recipients, nil
}

// seal encrypts a value to those who should read it. The loader has seen that there are keys of recovery, and that all keys
// are some.
func (t *paramTree) seal(name string, p schema.Parameter, number int, value secret.Secret) (text string, to []string, err error) {
	if have := len(t.repo.Fleet.Recovery); have < minRecovery { // a repository without secrets needs none
		return "", nil, exitWith{code: exitError, err: fmt.Errorf("fleet.recovery has %d keys, and a secret is encrypted to at least %d: who loses its readers would have lost it", have, minRecovery),
			hint: `make keys with age-keygen, keep them apart and offline, and write their public halves into fleet.cue: recovery: ["age1...", "age1..."]`}
	}
	to = reconciler.Recipients(t.repo, p)
	text, err = secret.Seal(secret.ID{Fleet: t.repo.Fleet.Name, Name: name, Version: number}, value, to)
	return text, to, err
}

// newReaders are those of the keys of to that are not among old: nodes by their names, and places in fleet.recovery.
func (t *paramTree) newReaders(old, to []string) []string {
	var out []string
	for _, line := range t.repo.Roster {
		if slices.Contains(to, line.Keys.Age) && !slices.Contains(old, line.Keys.Age) {
			out = append(out, line.Name)
		}
	}
	slices.Sort(out)
	for i, key := range t.repo.Fleet.Recovery {
		if !slices.Contains(old, key) {
			out = append(out, fmt.Sprintf("fleet.recovery[%d]", i))
		}
	}
	return out
}

// moveLabels gives labels to a version, which others lose.
func moveLabels(p *schema.Parameter, version string, labels []string) {
	for number, v := range p.Versions {
		kept := slices.DeleteFunc(slices.Clone(v.Labels), func(l string) bool { return slices.Contains(labels, l) })
		if number == version {
			for _, l := range labels {
				if !slices.Contains(kept, l) {
					kept = append(kept, l)
				}
			}
		}
		if len(kept) == 0 {
			kept = nil
		}
		v.Labels = kept
		p.Versions[number] = v
	}
}

// dropOldest keeps to the most versions that there may be.
func dropOldest(name string, p *schema.Parameter) (dropped string, err error) {
	if len(p.Versions) <= maxVersions {
		return "", nil
	}
	oldest := strconv.Itoa(versionNumbers(*p)[0])
	if labels := p.Versions[oldest].Labels; len(labels) > 0 {
		return "", exitWith{code: exitError, err: fmt.Errorf("%s has %d versions, and the oldest, %s, has the label %s", name, maxVersions, oldest, strings.Join(labels, ", ")),
			hint: fmt.Sprintf("move it first: dunlin param label %s VERSION %s", safe.Shell(name), labels[0])}
	}
	delete(p.Versions, oldest)
	return oldest, nil
}

func (a *app) printPut(t *paramTree, name string, p schema.Parameter, number int, sealed []string, dropped string, files []string) error {
	readers := []string{}
	if p.Type == schema.StoredSecureString {
		for _, line := range reconciler.Readers(t.repo, p) {
			readers = append(readers, line.Name)
		}
	}
	if a.json() {
		out := struct {
			Parameter  string            `json:"parameter"`
			Type       schema.StoredType `json:"type"`
			Version    int               `json:"version"`
			Readers    []string          `json:"readers"`
			Recipients int               `json:"recipients"`
			Dropped    string            `json:"dropped,omitempty"`
			Files      []string          `json:"files"`
		}{name, p.Type, number, readers, len(sealed), dropped, files}
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		l := lookOf(a.out)
		text := fmt.Sprintf("%s version %d", name, number)
		if p.Type == schema.StoredSecureString {
			text += fmt.Sprintf(", encrypted to %s and %d keys of recovery", counted(len(readers), "node"), len(sealed)-len(readers))
		}
		if dropped != "" {
			text += "; version " + dropped + " is gone, since 100 are kept"
		}
		for _, file := range files {
			text += "  " + t.p.show(file)
		}
		fmt.Fprintf(a.out, "%s %s\n", l.symbol(good), printable(text))
	}
	if x := p.Policies; x != nil && x.Expires != nil && !a.now().Before(*x.Expires) {
		a.note(fmt.Sprintf("warning: %s expired at %s: nobody can read it; give --expires", name, x.Expires.UTC().Format(time.RFC3339)), "")
	}
	if p.Type == schema.StoredSecureString && len(readers) == 0 {
		a.note("warning: its readers select no active node of the roster: only the keys of fleet.recovery can read it", "once there are nodes, dunlin param rotate "+safe.Shell(name))
	}
	return nil
}
