package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
)

func (a *app) doctorCommand() *cobra.Command {
	var config, socket string
	var offline bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "What is wrong with this host's own set-up, and what to do",
		Long: `Look at what Dunlin stands on at this host: its own file, the folder of its keys and
journal, the files of secrets, clock, room, kernel, service manager and unit, package
manager, the agent itself, and the Git remote. Each finding says what to do. Nothing is
changed, and no secret goes anywhere but to the server that it is for.

The remote is also asked whether a credential that lies on this host could move the branch
of the policy, which nobody's should: whoever takes the host over has it. For that it is
asked to create the branch that is there already; it refuses either for want of a right or
because the branch exists, and says which. Its log may have a line of it.

As root it sees all; as another user it says what it cannot see. docs/doctor.md has every
check.

Exit status: 0, with warnings too; 1 something is a problem.`,
		Example: `  sudo dunlin doctor
  sudo dunlin doctor --offline            # without asking the remote
  sudo dunlin doctor -o json | jq '.checks[] | select(.state != "ok")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := doctor{app: a, file: config, socket: socket, offline: offline}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the host's own file (default "+defaultConfig+")")
	cmd.Flags().StringVar(&socket, "socket", "", "the agent's socket (default that of the host's own file, else "+defaultSocket+")")
	cmd.Flags().BoolVar(&offline, "offline", false, "ask nobody over the network")
	return cmd
}

// Finding states, as -o json has them.
const (
	findingOK      = "ok"
	findingWarning = "warning"
	findingProblem = "problem"
	findingUnknown = "unknown" // could not be looked at
)

// finding is what one check found.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"`
	Found string `json:"found"`
	Do    string `json:"do,omitempty"`
}

// doctor gathers findings in the order in which things depend on each other.
type doctor struct {
	*app
	file, socket string
	offline      bool

	config schema.AgentConfig
	have   bool // the host's own file could be read
	found  []finding
}

func (d *doctor) say(check, state, do, format string, args ...any) {
	d.found = append(d.found, finding{Check: check, State: state, Found: fmt.Sprintf(format, args...), Do: do})
}

func (d *doctor) run(ctx context.Context) error {
	show := d.newProgress()
	defer show.end()
	if d.file == "" {
		d.file = defaultConfig
	}
	for _, step := range []struct {
		doing string
		do    func(context.Context)
	}{
		{"reading the host's own file", d.ownFile},
		{"looking at files of secrets", d.secrets},
		{"looking at the state folder", d.state},
		{"looking at the clock", d.clock},
		{"looking at the kernel", d.kernel},
		{"looking at the service manager", d.unit},
		{"looking at the package manager", d.packages},
		{"asking the agent", d.agent},
		{"asking the remote", d.remote},
	} {
		show.step(reconciler.Step{Doing: step.doing})
		step.do(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	show.end()
	counts := map[string]int{}
	for _, f := range d.found {
		counts[f.State]++
	}
	var err error
	if d.json() {
		err = d.printJSON(struct {
			Checks   []finding `json:"checks"`
			Problems int       `json:"problems"`
			Warnings int       `json:"warnings"`
			Unknown  int       `json:"unknown"`
		}{d.found, counts[findingProblem], counts[findingWarning], counts[findingUnknown]})
	} else {
		err = d.print(counts)
	}
	if err == nil && counts[findingProblem] > 0 {
		return exitWith{code: exitError}
	}
	return err
}

func (d *doctor) print(counts map[string]int) error {
	p := d.newPage()
	for _, f := range d.found {
		m := map[string]mark{findingOK: good, findingWarning: attention, findingProblem: bad, findingUnknown: unknown}[f.State]
		texts := []string{f.Found}
		if f.Do != "" {
			texts = append(texts, "do: "+f.Do)
		}
		p.fact(m, f.Check, texts...)
	}
	var parts []string
	for _, c := range []struct {
		state string
		m     mark
		one   string
	}{{findingProblem, bad, "problem"}, {findingWarning, attention, "warning"}, {findingUnknown, unknown, "thing that could not be looked at"}} {
		if n := counts[c.state]; n > 0 {
			text := counted(n, c.one)
			if c.state == findingUnknown && n > 1 {
				text = fmt.Sprintf("%d things that could not be looked at", n)
			}
			parts = append(parts, p.look.paint(c.m, text))
		}
	}
	sum := strings.Join(parts, ", ")
	if sum == "" {
		sum = p.look.paint(good, "nothing is wrong")
	}
	fmt.Fprintf(p.w, "\n%s\n", sum)
	return p.flush()
}

// asRoot is added where more would be seen as root.
const asRoot = "run it as root: sudo dunlin doctor"

// ownFile is the check "config", and with it "trust".
func (d *doctor) ownFile(context.Context) {
	const check = "config"
	_, c, err := readConfig(d.file)
	d.config = c
	var said exitWith
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.say(check, findingProblem, "dunlin join writes it, or write it by hand: dunlin schema agent says what stands in it; the unit starts nothing without it", "%s is not there", d.file)
		return
	case errors.Is(err, fs.ErrPermission):
		d.say(check, findingUnknown, asRoot, "%s may not be read by this user", d.file)
		return
	case err != nil:
		do := "mend it; docs/agent.md has what stands in it"
		if errors.As(err, &said) && said.hint != "" {
			do = said.hint
		}
		d.say(check, findingProblem, do, "%v", err)
		return
	}
	d.have = true
	if err := host.Owned(d.file); errors.Is(err, host.ErrNotOwned) {
		d.say(check, findingProblem, fmt.Sprintf("chown root:root %s && chmod go-w %s", d.file, d.file), "%v", err)
	} else {
		d.say(check, findingOK, "", "%s is read, and root's alone to write", d.file)
	}
	if c.Trust.Unsigned {
		d.say("trust", findingWarning, `sign the policy and pin it: trust: {anchor: "..."}, see docs/trust.md`,
			"unsigned: whoever can push to %s is root on this host", d.config.Repo.URL)
	} else {
		d.say("trust", findingOK, "", "only what the people of fleet.cue signed is applied, from %s on", short(c.Trust.Anchor))
	}
}

// secrets are the files that the host's own file names: "gossip key", "credential" and the server's identity.
func (d *doctor) secrets(context.Context) {
	if !d.have {
		return
	}
	look := func(check, good string, c schema.AgentConfig) {
		_, err := agentSecrets(c)
		var said exitWith
		switch {
		case err == nil:
			d.say(check, findingOK, "", "%s", good)
		case errors.Is(err, fs.ErrPermission):
			d.say(check, findingUnknown, asRoot, "%v", cause(err))
		case errors.As(err, &said):
			d.say(check, findingProblem, said.hint, "%v", said.err)
		default:
			d.say(check, findingProblem, "", "%v", err)
		}
	}
	if g := d.config.Gossip; g != nil {
		text := g.KeyFile + " holds a key, and is root's alone"
		if _, err := os.Lstat(g.KeyFile); errors.Is(err, fs.ErrNotExist) && len(g.Ask) > 0 {
			text = "a node gives this host the key once it is let in; it stays in the state folder"
		}
		look("gossip key", text, schema.AgentConfig{Gossip: g})
	}
	repo := d.config.Repo
	if repo.CredentialFile != "" {
		look("credential", repo.CredentialFile+" is root's alone", schema.AgentConfig{Repo: schema.AgentRepo{CredentialFile: repo.CredentialFile}})
	}
	if r := d.config.Reports; r != nil && r.CredentialFile != "" {
		look("credential", r.CredentialFile+" is root's alone", schema.AgentConfig{Reports: r})
	}
	for _, path := range []string{repo.KnownHosts, repo.CAFile} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			d.say("server", findingProblem, "write the file, or mend its name in the host's own file", "%q is not there, so that the server cannot be known", path)
			continue
		}
		look("server", path+" says which server is believed, and is root's alone to write", schema.AgentConfig{Repo: schema.AgentRepo{KnownHosts: repo.KnownHosts, CAFile: repo.CAFile}})
		break
	}
}

// Room below which a host is soon in trouble.
const (
	leastRoom  = 200 << 20 // bytes
	leastFiles = 2000
)

// state is the state folder, this host's keys in it, and the room there is.
func (d *doctor) state(context.Context) {
	dir := d.config.State
	if dir == "" { // the file could not be read
		dir = defaultState
	}
	err := host.PrivateFolder(dir)
	closed := fmt.Sprintf("chown root:root %s && chmod 0700 %s", dir, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.say("state", findingWarning, "systemctl start dunlin makes it", "%s is not there: no agent has run here yet", dir)
		dir = filepath.Dir(dir)
	case errors.Is(err, fs.ErrPermission):
		d.say("state", findingUnknown, asRoot, "%v", err)
	case errors.Is(err, errors.ErrUnsupported):
		d.say("state", findingUnknown, "", "%v", err)
	case err != nil:
		d.say("state", findingProblem, closed, "%v", err)
	default:
		d.say("state", findingOK, "", "%s is root's alone (0700)", dir)
		d.keys(dir)
	}
	bytes, files, err := host.FreeSpace(dir)
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, errors.ErrUnsupported), errors.Is(err, fs.ErrNotExist):
	case err != nil:
		d.say("room", findingProblem, "", "%q: %v", dir, err)
	case bytes < leastRoom/10 || files < leastFiles/10:
		d.say("room", findingProblem, "make room: what cannot be written down cannot be carried out", "%d MiB and %d files are free at %s", bytes>>20, files, dir)
	case bytes < leastRoom || files < leastFiles:
		d.say("room", findingWarning, "make room", "%d MiB and %d files are free at %s", bytes>>20, files, dir)
	default:
		d.say("room", findingOK, "", "%d MiB are free at %s", bytes>>20, dir)
	}
}

// keys are looked at and never made.
func (d *doctor) keys(state string) {
	if _, err := os.Lstat(filepath.Join(state, identity.Folder)); errors.Is(err, fs.ErrNotExist) {
		d.say("keys", findingWarning, "dunlin node line makes them, and prints the line for the roster", "this host has none yet")
		return
	}
	if err := secret.Guard(); err != nil {
		d.say("keys", findingUnknown, "", "they are not read: %v", err)
		return
	}
	k, err := identity.Open(state)
	var refused *identity.RefusedError
	switch {
	case errors.Is(err, fs.ErrPermission):
		d.say("keys", findingUnknown, asRoot, "%v", err)
	case errors.As(err, &refused):
		d.say("keys", findingProblem, refused.Remedy, "%v", refused)
	case err != nil:
		d.say("keys", findingProblem, "", "%v", err)
	default:
		d.say("keys", findingOK, "", "this host is %s", k.ID())
	}
}

// clock: signatures, windows and freshness are judged by it.
func (d *doctor) clock(context.Context) {
	const check, do = "clock", "systemctl enable --now systemd-timesyncd, or chrony"
	synchronised, err := host.ClockSynchronised()
	now := d.now()
	switch {
	case now.Year() < 2025 || now.Year() > 2100:
		d.say(check, findingProblem, do, "it says %s, which cannot be: windows open at wrong times, and commits seem to come from the future", now.Format(time.RFC3339))
	case errors.Is(err, errors.ErrUnsupported):
		d.say(check, findingUnknown, "", "%v", err)
	case err != nil:
		d.say(check, findingUnknown, asRoot, "%v", err)
	case !synchronised:
		d.say(check, findingWarning, do, "nobody keeps it right, as far as the kernel knows; it says %s", now.UTC().Format(time.RFC3339))
	default:
		d.say(check, findingOK, "", "it is kept right by somebody, and says %s", now.UTC().Format(time.RFC3339))
	}
}

func (d *doctor) kernel(ctx context.Context) {
	fs := host.Features(ctx)
	var fine []string
	for _, f := range fs {
		switch {
		case f.Problem == "":
			fine = append(fine, f.Name)
		case os.Geteuid() != 0:
			d.say("kernel", findingUnknown, asRoot, "%s: %s", f.Name, f.Problem)
		case f.Needed:
			d.say("kernel", findingProblem, "load or build it, or take the policy that needs it off this host", "%s: %s: %s", f.Name, f.Problem, f.Without)
		default:
			d.say("kernel", findingWarning, "", "%s: %s: %s", f.Name, f.Problem, f.Without)
		}
	}
	if len(fine) > 0 {
		d.say("kernel", findingOK, "", "it has %s", listed(fine, 8))
	}
}

// socketPath is where the agent is asked.
func (d *doctor) socketPath() string {
	switch {
	case d.socket != "":
		return d.socket
	case d.config.Socket != "":
		return d.config.Socket
	}
	return defaultSocket
}

// agent is what the agent itself has to say.
func (d *doctor) agent(ctx context.Context) {
	const check = "agent"
	ctx, cancel := context.WithTimeout(ctx, quickAnswer)
	defer cancel()
	s, err := api.Dial(d.socketPath()).Status(ctx)
	var said exitWith
	switch {
	case errors.Is(err, api.ErrDenied) && os.Geteuid() != 0:
		d.say(check, findingUnknown, asRoot, "%v", err)
		return
	case err != nil:
		errors.As(socketError(err), &said)
		d.say(check, findingProblem, said.hint, "%v", err)
		return
	}
	switch {
	case s.Commit == "":
		d.say(check, findingWarning, "dunlin status tells why", "it runs, and no commit is in force here yet")
	case s.Node == "":
		d.say(check, findingWarning, "let it in with dunlin node approve, where it has asked with dunlin join; else put the line that dunlin node line prints into the repository", "it runs, and the roster of %s does not have this host, so that it does nothing", short(s.Commit))
	default:
		d.say(check, findingOK, "", "it runs as %s, with %s in force for %s", s.Node, short(s.Commit), span(s.At.Sub(s.Since)))
	}
	for _, r := range s.Refused {
		d.say("refused", findingWarning, "mend it in the repository: dunlin status has the lines", "%s is refused: %s", short(r.Commit), firstOf(r))
	}
	for _, text := range s.Problems {
		d.say("problem", findingProblem, "dunlin status and journalctl -u dunlin have more", "%s", text)
	}
}

// firstOf is why a commit is refused, in one line.
func firstOf(r schema.RefusedCommit) string {
	switch {
	case r.Reason != "":
		return r.Reason
	case len(r.Faults) > 0:
		return r.Faults[0].String()
	}
	return "its faults are not known here"
}
