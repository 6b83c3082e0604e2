package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// betweenSteps is how long a step of a rotation has to reach all nodes before the next.
const betweenSteps = 10 * time.Minute

func (a *app) keyGossipRotateCommand() *cobra.Command {
	var f rosterFlags
	var now bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Exchange the gossip key of a fleet, a step each time",
		Long: `Take the next of three steps in the policy repository's work tree, and commit it where git is set to sign
(commit.gpgsign; --no-commit only changes the files). Run it three times, and push each step:

  add     a new key is made, and sealed to 16 nodes in nodes/gossip/; the others ask them. All take it, none uses it.
  use     all use the new key, and still take the old one.
  remove  the old key is taken no more: a node that was retired hears nothing from now on.

nodes/gossip/keys.json says which keys the fleet takes and uses, by their SHA-256; the keys themselves are only ever in age
files and on nodes. A step is refused within 10 minutes of the one before, so that it can reach all nodes: look at dunlin
status first, which names nodes that lack a key. A node that was away for longer asks the nodes of gossip.ask in its own
file.`,
		Example: `  dunlin key gossip rotate
  dunlin key gossip rotate --push
  dunlin key gossip rotate --no-commit && git diff`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.rotateGossip(cmd.Context(), f, now) },
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&now, "now", false, "do not wait between two steps")
	return cmd
}

func (a *app) rotateGossip(ctx context.Context, f rosterFlags, now bool) error {
	p, err := findPolicy(f.repo)
	if err != nil {
		return err
	}
	defer p.root.Close()
	e := &rosterEdit{p: p, texts: map[string][]byte{}}
	keys := agent.GossipKeys{V: 1, Keys: []string{agent.KeyOfFile}, Use: agent.KeyOfFile}
	text, err := e.text(agent.GossipKeysFile)
	if err == nil && text != nil {
		keys, err = agent.ParseGossipKeys(text)
	}
	if err != nil {
		return err
	}
	g := git{dir: p.dir}
	if at, err := g.run(ctx, nil, "log", "-1", "--format=%ct", "--", agent.GossipKeysFile); err == nil && at != "" && !now {
		if seconds, err := strconv.ParseInt(at, 10, 64); err == nil {
			if wait := time.Unix(seconds, 0).Add(betweenSteps).Sub(a.now()); wait > 0 {
				return exitWith{code: exitError, err: fmt.Errorf("the step before was committed %s ago; wait %s more, and see that dunlin status names no node that lacks a key", (betweenSteps - wait).Round(time.Second), wait.Round(time.Second)),
					hint: "--now does not wait: nodes that the step before has not reached are cut off until they ask"}
			}
		}
	}
	step, id, leftOut := "", "", []string{}
	switch last := keys.Keys[len(keys.Keys)-1]; {
	case len(keys.Keys) == 1:
		step = "add"
		if id, leftOut, err = e.sealNewKey(ctx, a.evaluator()); err != nil {
			return err
		}
		a.warnLeftOut("the gossip key", leftOut)
		keys.Keys = append(keys.Keys, id)
	case keys.Use != last:
		step, id = "use", last
		keys.Use = last
	default:
		step, id = "remove", keys.Use
		keys.Keys = []string{keys.Use}
	}
	line, err := json.Marshal(map[string]any{"v": 1, "keys": keys.Keys, "use": keys.Use})
	if err != nil {
		return err
	}
	e.texts[agent.GossipKeysFile] = append(line, '\n')
	c, err := e.commit(ctx, f, fmt.Sprintf("gossip key %.8s: %s", id, map[string]string{"add": "add it", "use": "use it", "remove": "remove those before it"}[step]), nil)
	if err != nil {
		return err
	}
	if f.push {
		if c.Commit == "" {
			return exitWith{code: exitError, err: errors.New("nothing is pushed, since nothing was committed"), hint: "git config commit.gpgsign true lets this command commit; the files are changed"}
		}
		if _, err := g.run(ctx, nil, "push", "--quiet"); err != nil {
			return exitWith{code: exitError, err: err, hint: "the commit is made; git pull --rebase, then git push"}
		}
	}
	if a.json() {
		return a.printJSON(struct {
			Step   string   `json:"step"` // add, use, remove
			Key    string   `json:"key"`
			Keys   []string `json:"keys"`
			Use    string   `json:"use"`
			Files  []string `json:"files"`
			Commit string   `json:"commit"`
			Pushed bool     `json:"pushed"`
			// LeftOut are nodes to whose keys.age nothing can be encrypted.
			LeftOut []string `json:"leftOut"`
		}{step, id, keys.Keys, keys.Use, c.Files, c.Commit, f.push, leftOut})
	}
	did := map[string]string{"add": "add the gossip key %.8s", "use": "use the gossip key %.8s", "remove": "remove the gossip keys before %.8s"}[step]
	fmt.Fprintf(a.out, "%s "+did+"\n", lookOf(a.out).symbol(good), id)
	c.Pushed = f.push
	a.printCommitted(c)
	fmt.Fprintf(a.out, "then: %s\n", map[string]string{
		"add":    "10 minutes after the push, when dunlin status names no node that lacks a key, run this again to use it",
		"use":    "10 minutes after the push run this again to remove the old key",
		"remove": "once it is pushed, the old key is worth nothing",
	}[step])
	return nil
}

// sealNewKey makes a key and seals it to some nodes; the others ask them.
// leftOut are nodes to whose keys nothing can be encrypted: others take their place.
func (e *rosterEdit) sealNewKey(ctx context.Context, read load.Func) (id string, leftOut []string, err error) {
	if err := secret.Guard(); err != nil {
		return "", nil, err
	}
	repo, _, err := read(ctx, e.p.root.FS())
	if err != nil {
		return "", nil, fmt.Errorf("read the repository: %w", err)
	}
	nodes, err := e.nodes()
	if err != nil {
		return "", nil, err
	}
	nodes = slices.DeleteFunc(nodes, func(n schema.RosterLine) bool { return n.State != schema.NodeActive })
	if len(nodes) == 0 {
		return "", nil, exitWith{code: exitError, err: errors.New("the roster has no active node that could be given a key")}
	}
	leftOut = []string{}
	var to []string
	for _, n := range nodes { // sorted by ids, which are as good as random
		if len(to) == agent.SealedKeyReaders {
			break
		}
		if secret.CheckRecipient(n.Keys.Age) != nil {
			leftOut = append(leftOut, n.Name)
			continue
		}
		to = append(to, n.Keys.Age)
	}
	if len(to) == 0 {
		return "", nil, exitWith{code: exitError, err: fmt.Errorf("nothing can be encrypted to the key keys.age of any active node: %s", listed(leftOut, 5)), hint: "see who let them in; dunlin node retire NAME"}
	}
	key := make([]byte, gossip.KeySize)
	_, _ = rand.Read(key) // never fails
	defer clear(key)
	id = agent.GossipKeyID(key)
	sealed, err := secret.Seal(agent.SealedKeyName(repo.Fleet.Name, id), secret.New("gossip key", []byte(base64.StdEncoding.EncodeToString(key))), to)
	if err != nil {
		return "", nil, err
	}
	e.texts[agent.SealedKeyFile(id)] = []byte(sealed + "\n")
	return id, leftOut, nil
}

// warnLeftOut names the nodes to whose keys nothing can be encrypted. What is for others, too, is made without them: else who
// gets one such key into the roster would keep all others from what is secret.
func (a *app) warnLeftOut(what string, nodes []string) {
	if len(nodes) > 0 {
		a.note(fmt.Sprintf("warning: %s is NOT encrypted to %s: nothing can be encrypted to the age key that the roster has", what, listed(nodes, 20)), "see who let that host in, and take it out: dunlin node retire "+safe.Shell(nodes[0]))
	}
}
