package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

type joinHostFlags struct {
	repo, branch, credential, knownHosts, caFile string
	activation, code, anchor                     string
	unsigned, print                              bool
	peers, tags                                  []string
	name, config, state                          string
}

func (a *app) joinCommand() *cobra.Command {
	var f joinHostFlags
	cmd := &cobra.Command{
		Use:   "join --repo URL --activation ID --code-file FILE --anchor COMMIT [--peer HOST:PORT]",
		Short: "Ask to be let into a fleet, as this host",
		Long: `Make this host's keys, read the policy repository and see that people have signed it since the anchor, and ask to be
let in with the code of an activation: a node of the fleet (--peer, its peer server), which sees where this host is;
or, where none is given or can be reached, by leaving the proof in the repository, if its credential may push to
refs/dunlin/join/. Where neither works the proof is printed, for dunlin node approve --proof. The host's own file is
written then: start the agent, and it waits until somebody lets it in (dunlin node approve), doing nothing.

The code is read from a file of mode 0600, or with - from the terminal or standard input. It is kept nowhere. The anchor
is what dunlin activation create printed; it says whom this host believes, so take it from where you have the code from.

Exit status: 0 asked, or in already; 4 refused: the code is wrong, over, revoked or full, or the repository is not what
people have signed; 1 it could not be asked.`,
		Example: `  sudo dunlin join --repo ssh://git@forge/policy.git --credential-file /etc/dunlin/repo.key \
      --activation act-7q2m9c --code-file - --anchor 3f2a9c1d5b8e4f60718293a4b5c6d7e8f9012345 --peer 10.0.0.5:7951
  sudo dunlin join --repo https://forge/policy.git --activation act-7q2m9c --code-file code --anchor 3f2a... --print > proof`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.joinFleet(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.repo, "repo", "", "the policy repository: https, ssh or file")
	cmd.Flags().StringVar(&f.branch, "branch", "", "the branch to follow (default main)")
	cmd.Flags().StringVar(&f.credential, "credential-file", "", "a file with user:password or a token for https, or an OpenSSH private key; root's, mode 0600")
	cmd.Flags().StringVar(&f.knownHosts, "known-hosts", "", "the host keys that ssh believes")
	cmd.Flags().StringVar(&f.caFile, "ca-file", "", "the authorities that https believes, as PEM")
	cmd.Flags().StringVar(&f.activation, "activation", "", "the id of the activation")
	cmd.Flags().StringVar(&f.code, "code-file", "", "a file with its code, - for the terminal or standard input")
	cmd.Flags().StringVar(&f.anchor, "anchor", "", "the commit that trust starts from")
	cmd.Flags().BoolVar(&f.unsigned, "unsigned", false, "believe the repository, where nobody signs it")
	cmd.Flags().StringArrayVar(&f.peers, "peer", nil, "the peer server of a node to ask")
	cmd.Flags().StringVar(&f.name, "name", "", "the name to ask for (default: the host name)")
	cmd.Flags().StringArrayVar(&f.tags, "tags", nil, "a tag to ask for")
	cmd.Flags().BoolVar(&f.print, "print", false, "print the proof for dunlin node approve --proof, and ask nobody")
	cmd.Flags().StringVar(&f.config, "config", defaultConfig, "the host's own file, which is written")
	cmd.Flags().StringVar(&f.state, "state", defaultState, "the state folder: keys, journal and caches")
	return cmd
}

func (a *app) joinFleet(ctx context.Context, f joinHostFlags) error {
	switch {
	case f.repo == "" || f.activation == "" || f.code == "":
		return usageError{errors.New("--repo, --activation and --code-file are needed")}
	case (f.anchor == "") == !f.unsigned:
		return usageError{errors.New("--anchor COMMIT says whom to believe (or --unsigned that the repository is believed)")}
	case f.anchor != "" && !matches(`^[0-9a-f]{40}$`, f.anchor):
		return usageError{fmt.Errorf("--anchor %q is not a full commit hash", f.anchor)}
	case !filepath.IsAbs(f.state):
		return usageError{fmt.Errorf("--state %q is not an absolute path", f.state)}
	case load.CheckName("activation", f.activation) != nil:
		return usageError{fmt.Errorf("--activation %w", load.CheckName("activation", f.activation))}
	}
	for _, p := range f.peers {
		if host, port, err := net.SplitHostPort(p); err != nil || host == "" || port == "" {
			return usageError{fmt.Errorf("--peer %q is not HOST:PORT", p)}
		}
	}
	tags, err := parseTags(f.tags)
	if err != nil {
		return err
	}
	text, config, err := joinConfig(f)
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(f.config); err == nil && string(have) != string(text) {
		return exitWith{code: exitError, err: fmt.Errorf("this host has a configuration already: %q", f.config),
			hint: "a host is of one fleet: move the file away to join another, or name another with --config"}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the host's configuration: %w", err)
	}
	if _, err := agentSecrets(config); err != nil {
		return err
	}
	if f.name == "" {
		if f.name, err = os.Hostname(); err != nil {
			return fmt.Errorf("ask for the host name: %w", err)
		}
	}
	if !isNodeName(f.name) {
		return exitWith{code: exitError, err: fmt.Errorf("the name %q cannot be a node's name", f.name), hint: "letters, digits, . _ and - will do: --name NAME"}
	}
	system, err := inventory.ReadOS("/")
	if err != nil {
		return inputError(err)
	}
	code, err := a.readCode(f.code)
	if err != nil {
		return err
	}
	keys, err := openKeys(f.state)
	if err != nil {
		return err
	}
	unlock, err := host.Lock(filepath.Join(f.state, "lock"), "dunlin join")
	if err != nil {
		return a.localError(ctx, err)
	}
	defer unlock()
	asked, err := agent.Enrolment{Config: config, Keys: keys, Evaluate: load.Child(loadOptions()), Activation: f.activation, Code: code,
		Name: f.name, OS: system.ID, Tags: tags, Members: f.peers, ByHand: f.print, Now: a.now}.Ask(ctx)
	if r := (*trust.JoinRefusal)(nil); errors.As(err, &r) {
		return exitWith{code: exitNotTrusted, err: fmt.Errorf("this host is not let in: %s: %w", r.Kind, err), hint: hintOfJoining(r.Kind)}
	}
	if r := (*trust.Refusal)(nil); errors.As(err, &r) {
		return exitWith{code: exitNotTrusted, err: err, hint: hintOfRefusal(r.Kind)}
	}
	if err != nil {
		return repositoryError(err)
	}
	if err := writeConfig(f.config, text); err != nil {
		return err
	}
	return a.printJoin(f, asked)
}

// hintOfRefusal says what a host that would join can do where the branch is not trusted.
func hintOfRefusal(k trust.Kind) string {
	switch k {
	case trust.NotAgreed:
		return "the hosts of the fleet refuse that commit, too: let who must agree sign it or run dunlin approve; dunlin trust verify tells who, in a clone"
	case trust.Malformed:
		return "the hosts of the fleet refuse that commit, too: whoever keeps the repository must take it out of the branch"
	case trust.WrongTime:
		return "set the clock: this host's, or that of whoever made the commit"
	case trust.TooFar:
		return "take a later anchor: dunlin trust anchor prints it, in a clone"
	}
	return "is the anchor of this repository? dunlin trust anchor prints it, in a clone"
}

func hintOfJoining(k trust.JoinKind) string {
	switch k {
	case trust.JoinCode:
		return "is the code of this activation? dunlin activation create printed both"
	case trust.JoinReplay:
		return "this host's keys were in the fleet before: to be a new node, move the folder of keys away and join again"
	case trust.JoinTime:
		return "set this host's clock"
	case trust.JoinNetwork:
		return "--peer names a node that this host can reach"
	case trust.JoinExpired, trust.JoinLimit, trust.JoinRevoked:
		return "ask for another activation, or whether it is pushed yet: dunlin activation list"
	}
	return ""
}

// joinConfig is the host's own file.
func joinConfig(f joinHostFlags) ([]byte, schema.AgentConfig, error) {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "\t%s: %s\n", name, cueText(value))
		}
	}
	b.WriteString("// Written by dunlin join.\nrepo: {\n")
	field("url", f.repo)
	field("branch", f.branch)
	field("credentialFile", f.credential)
	field("knownHosts", f.knownHosts)
	field("caFile", f.caFile)
	b.WriteString("}\n")
	if f.unsigned {
		b.WriteString("trust: \"unsigned\"\n")
	} else {
		fmt.Fprintf(&b, "trust: anchor: %s\n", cueText(f.anchor))
	}
	if len(f.peers) > 0 {
		var seeds, ask []string
		for _, p := range f.peers {
			host, _, err := net.SplitHostPort(p)
			if err != nil {
				return nil, schema.AgentConfig{}, usageError{fmt.Errorf("--peer %q is not HOST:PORT", p)}
			}
			seeds, ask = append(seeds, cueText(net.JoinHostPort(host, "7950"))), append(ask, cueText(p))
		}
		// The key comes from one of these once this host is let in, and stays in the state folder.
		fmt.Fprintf(&b, "gossip: {\n\tkeyFile: %s\n\tjoin: [%s]\n\task: [%s]\n}\n", cueText(filepath.Join(f.state, "gossip.key")), strings.Join(seeds, ", "), strings.Join(ask, ", "))
	}
	if f.state != defaultState {
		fmt.Fprintf(&b, "state: %s\n", cueText(f.state))
	}
	text, faults := load.Format("agent.cue", []byte(b.String()))
	var config schema.AgentConfig
	if len(faults) == 0 {
		config, faults = load.AgentConfig(f.config, text)
	}
	if len(faults) > 0 {
		return nil, config, usageError{errors.New(faults[0].Message)}
	}
	return text, config, nil
}

// writeConfig makes the host's own file, and its folder.
func writeConfig(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the host's configuration: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil // it has this text: that was seen before
	}
	if err != nil {
		return fmt.Errorf("write the host's configuration: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the host's configuration: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// readCode reads a code from a file that only its owner reads, from the terminal without showing it, or from standard input.
func (a *app) readCode(path string) (ed25519.PrivateKey, error) {
	if err := secret.Guard(); err != nil {
		return nil, err
	}
	var text []byte
	var err error
	in, isFile := a.in.(*os.File)
	switch {
	case path != "-":
		if info, serr := os.Stat(path); serr == nil && info.Mode().Perm()&0o077 != 0 {
			return nil, exitWith{code: exitError, err: fmt.Errorf("--code-file %q may be read by others", path), hint: "chmod 0600 " + safe.Shell(path)}
		}
		if text, err = readSmall(path, 1<<10); err != nil {
			err = fmt.Errorf("--code-file %q: %w", path, cause(err))
		}
	case isFile && term.IsTerminal(int(in.Fd())):
		fmt.Fprint(a.err, "code: ")
		text, err = term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(a.err)
	default:
		var line string
		line, err = bufio.NewReader(io.LimitReader(a.in, 1<<10)).ReadString('\n')
		if errors.Is(err, io.EOF) && line != "" {
			err = nil
		}
		text = []byte(line)
	}
	if err != nil {
		return nil, exitWith{code: exitError, err: fmt.Errorf("read the code: %w", err), hint: "--code-file FILE, or - and the code on standard input"}
	}
	key, err := trust.ParseCode(string(text))
	if err != nil {
		return nil, exitWith{code: exitError, err: err, hint: "dunlin activation create printed it"}
	}
	return key, nil
}

type joinView struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Fleet  string `json:"fleet"`
	Commit string `json:"commit"`
	State  string `json:"state"` // pending, active, unasked
	Member string `json:"member,omitempty"`
	Left   bool   `json:"left"`            // in the repository
	Proof  string `json:"proof,omitempty"` // to hand over
	Taken  string `json:"taken,omitempty"` // who has the name, where somebody has
	Config string `json:"config"`
}

func (a *app) printJoin(f joinHostFlags, asked agent.Asked) error {
	v := joinView{ID: asked.ID, Name: f.name, Fleet: asked.Fleet, Commit: asked.Commit, State: "pending", Member: asked.Member, Left: asked.Left, Config: f.config, Taken: asked.Taken}
	switch {
	case asked.In:
		v.State = "active"
	case asked.Member == "" && !asked.Left:
		v.State, v.Proof = "unasked", asked.Proof
	}
	for _, why := range asked.Why {
		a.note(why.Error(), "")
	}
	if v.Taken != "" {
		a.note(v.Taken, "ask again with --name OTHER; or somebody lets it in under another name: dunlin node approve "+v.ID+" --name OTHER (a machine does not)")
	}
	if a.json() {
		return a.printJSON(v)
	}
	l := lookOf(a.out)
	switch {
	case v.State == "active":
		fmt.Fprintf(a.out, "%s this host is %s of the fleet %s already\n", l.symbol(good), v.ID, printable(v.Fleet))
	case f.print:
		_, err := fmt.Fprintln(a.out, v.Proof)
		return err
	case v.State == "unasked":
		a.note("nobody could be asked; let somebody give this line to dunlin node approve --proof -", "")
		_, err := fmt.Fprintln(a.out, v.Proof)
		return err
	case v.Left && v.Member == "":
		fmt.Fprintf(a.out, "%s this host asks to be let into the fleet %s as %s: its proof is in the repository\n", l.symbol(good), printable(v.Fleet), v.ID)
	default:
		fmt.Fprintf(a.out, "%s this host asks to be let into the fleet %s as %s: node %s has heard it\n", l.symbol(good), printable(v.Fleet), v.ID, v.Member)
	}
	fmt.Fprintf(a.out, "\nnext: sudo systemctl enable --now dunlin; the agent waits until somebody lets it in:\n  dunlin node approve %s\n", printable(safe.Shell(f.name)))
	return nil
}
