package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// publicKey reads the line of a public key that a signer may have from a file.
func publicKey(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > 16<<10) {
		err = errors.New("not a file with a public key")
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return "", exitWith{code: exitError, err: fmt.Errorf("--key %q: %w", path, cause(err)), hint: "name the .pub file; ssh-keygen -t ed25519 makes a pair"}
	}
	if strings.Contains(string(b), "PRIVATE KEY") {
		return "", exitWith{code: exitError, err: fmt.Errorf("--key %q is a private key", path), hint: "name its .pub file: the private key stays where it is"}
	}
	key, comment, _, rest, err := ssh.ParseAuthorizedKey(b)
	if err != nil || strings.TrimSpace(string(rest)) != "" {
		return "", exitWith{code: exitError, err: fmt.Errorf("--key %q is not one line of a public key", path), hint: "name the .pub file; ssh-keygen -t ed25519 makes a pair"}
	}
	if t := key.Type(); t != ssh.KeyAlgoED25519 && t != ssh.KeyAlgoSKED25519 {
		return "", exitWith{code: exitError, err: fmt.Errorf("--key %q is of type %s", path, t), hint: "signers have ssh-ed25519 or sk-ssh-ed25519@openssh.com: ssh-keygen -t ed25519, or -t ed25519-sk for a security key"}
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	if comment != "" && !strings.ContainsFunc(comment, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		line += " " + comment
	}
	return line, nil
}

// changeFleet changes fleet.cue of a work tree and says what is left to do; the change counts once it is agreed to.
func (a *app) changeFleet(ctx context.Context, change func(text []byte) ([]byte, error)) error {
	p, err := findPolicy("")
	if err != nil {
		return err
	}
	defer p.root.Close()
	text, mode, err := p.read("fleet.cue")
	if err != nil {
		return err
	}
	now, err := change(text)
	if err != nil {
		return err
	}
	// What would lock everybody out must not come as far as a commit.
	if _, err := agent.NewFleets(load.Child(loadOptions())).Read(ctx, now); err != nil {
		return exitWith{code: exitFaults, err: fmt.Errorf("fleet.cue is not changed, since then %w", err), hint: "change fleet.cue by hand: a new role and its first person are written at once, as docs/trust.md shows"}
	}
	if err := p.write("fleet.cue", now, mode); err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(struct {
			File string `json:"file"`
		}{p.show("fleet.cue")})
	}
	fmt.Fprintf(a.out, "%s %s\n\nnext: git diff; git commit -S: the role root must agree, and where it changes who is root, the new root, too\n", lookOf(a.out).symbol(good), printable(p.show("fleet.cue")))
	return nil
}

func signerText(name string, keys, roles []string) string {
	quote := func(list []string) string {
		out := make([]string, len(list))
		for i, s := range list {
			out[i] = fmt.Sprintf("%q", s)
		}
		return strings.Join(out, ", ")
	}
	return fmt.Sprintf("fleet: signers: %q: {\n\tkeys: [%s]\n\troles: [%s]\n}\n", name, quote(keys), quote(roles))
}

func (a *app) trustAddCommand() *cobra.Command {
	var keys, roles []string
	cmd := &cobra.Command{
		Use:   "add NAME --key FILE.pub --role ROLE",
		Short: "Name a person who may sign",
		Long: `Add a person to fleet.cue of the work tree, with public keys that exist already
(ssh-ed25519 or sk-ssh-ed25519@openssh.com) and roles. Nothing is committed: the change
counts once the people with the role root have agreed to it.`,
		Example: `  dunlin trust add bob --key bob.pub --role policy
  dunlin trust add alice --key ~/.ssh/id_ed25519.pub --role root --role policy`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(keys) == 0 || len(roles) == 0 {
				return usageError{errors.New("--key FILE.pub and --role ROLE are both needed")}
			}
			if err := load.CheckName("fleet", args[0]); err != nil {
				return usageError{err}
			}
			var lines []string
			for _, path := range keys {
				line, err := publicKey(path)
				if err != nil {
					return err
				}
				lines = append(lines, line)
			}
			return a.changeFleet(cmd.Context(), func(text []byte) ([]byte, error) {
				fleet, err := agent.NewFleets(load.Child(loadOptions())).Read(cmd.Context(), text)
				if err == nil {
					if _, there := fleet.Signers[args[0]]; there {
						return nil, exitWith{code: exitError, err: fmt.Errorf("fleet.cue has a signer %q already", args[0]), hint: fmt.Sprintf("change the keys and roles there, or dunlin trust revoke %s first", safe.Shell(args[0]))}
					}
				}
				return append(append(slices.Clone(text), '\n'), signerText(args[0], lines, roles)...), nil
			})
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "a file with a public key")
	cmd.Flags().StringArrayVar(&roles, "role", nil, "a role")
	return cmd
}

func (a *app) trustRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME",
		Short: "Take a person's word away",
		Long: `Remove a person from fleet.cue of the work tree, if they stand there in a block of their own,
as dunlin trust add writes it. Nothing is committed. From the commit on that has the change,
what that person signs counts no more; what was agreed to before stays so. Who is needed for
a role, since else fewer have it than must agree, is not removed.`,
		Example: `  dunlin trust revoke bob`,
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeFleet(cmd.Context(), func(text []byte) ([]byte, error) {
				if err := a.spared(cmd.Context(), text, args[0]); err != nil {
					return nil, err
				}
				now, err := withoutSigner(text, args[0])
				if err != nil {
					return nil, err
				}
				if fleet, err := agent.NewFleets(load.Child(loadOptions())).Read(cmd.Context(), now); err == nil {
					if _, still := fleet.Signers[args[0]]; still {
						return nil, exitWith{code: exitError, err: fmt.Errorf("fleet.cue says %q in more than one place", args[0]), hint: "remove them there by hand"}
					}
				}
				return now, nil
			})
		},
	}
}

// spared fails where a role would have too few people without one: hosts that trust an anchor would take no commit any more.
func (a *app) spared(ctx context.Context, text []byte, name string) error {
	fleet, err := agent.NewFleets(load.Child(loadOptions())).Read(ctx, text)
	if err != nil {
		return nil // which changing it tells
	}
	names := slices.Sorted(maps.Keys(fleet.Signers))
	if !slices.Contains(names, name) {
		return exitWith{code: exitNoMatch, err: fmt.Errorf("fleet.cue has no signer %q%s", name, didYouMean(name, names)), hint: signersHint(names)}
	}
	for _, role := range fleet.Signers[name].Roles {
		others := 0
		for other, s := range fleet.Signers {
			if other != name && slices.Contains(s.Roles, role) {
				others++
			}
		}
		if need := max(fleet.Roles[role].Threshold, 1); others < need {
			have := fmt.Sprintf("%d have", others)
			if others < 2 {
				have = []string{"nobody has", "1 person has"}[others]
			}
			return exitWith{code: exitError, err: fmt.Errorf("fleet.cue is not changed: without %q %s the role %s, and %d must agree", name, have, role, need),
				hint: "name another person first: dunlin trust add NAME --key FILE.pub" + strings.Join(append([]string{""}, fleet.Signers[name].Roles...), " --role ")}
		}
	}
	return nil
}

// withoutSigner takes the block that names a signer at its beginning out of a file.
func withoutSigner(text []byte, name string) ([]byte, error) {
	lines := strings.SplitAfter(string(text), "\n")
	for i, line := range lines {
		rest, ok := strings.CutPrefix(line, "fleet: signers: ")
		if !ok || !strings.HasPrefix(rest, name+":") && !strings.HasPrefix(rest, fmt.Sprintf("%q:", name)) {
			continue
		}
		depth := 0
		for j := i; j < len(lines); j++ {
			depth += strings.Count(lines[j], "{") - strings.Count(lines[j], "}")
			if depth <= 0 {
				return []byte(strings.Join(slices.Concat(lines[:i], lines[j+1:]), "")), nil
			}
		}
	}
	return nil, exitWith{code: exitError, err: fmt.Errorf("fleet.cue has no block of its own for a signer %q", name), hint: "dunlin trust list names the signers; one that stands there in another way is taken out by hand"}
}
