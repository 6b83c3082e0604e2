package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/peer"
	"github.com/dunlin-dev/dunlin/agent/secret"
)

// GossipKeysFile says in a policy repository which gossip keys the fleet takes, and which it uses. It lies where root alone
// changes things.
const GossipKeysFile = "nodes/gossip/keys.json"

// KeyOfFile stands for the key that each host has in the file of its own configuration.
const KeyOfFile = "file"

// ErrAgain ends Run where the agent is to be made anew: it was given the key, or has now the address, without which it could not
// meet the others.
var ErrAgain = errors.New("what it takes to meet the others has come")

const (
	gossipKeysState = "gossip-keys.json"
	maxGossipKeys   = 4
	keyLookEvery    = 15 * time.Second
	keyAskEvery     = 3 * time.Second // while this node is let in and has none
	// keyAlone is how long a node that was given its key may meet nobody but who gave it, before it asks others.
	keyAlone = 5 * time.Minute
	// SealedKeyReaders is how many nodes a new gossip key is sealed to; the others ask them.
	SealedKeyReaders = 16
)

// GossipKeys are the gossip keys of a fleet, by what GossipKeyID makes of them; KeyOfFile is one, too.
type GossipKeys struct {
	V    int      `json:"v"`
	Keys []string `json:"keys"` // that are taken, at most 4
	Use  string   `json:"use"`  // of them, which encrypts
}

// GossipKeyID names a key without telling it.
func GossipKeyID(key []byte) string {
	sum := sha256.Sum256(append([]byte("dunlin-gossip-key/v1\n"), key...))
	return hex.EncodeToString(sum[:])
}

// SealedKeyFile is where a new key is, sealed to some nodes.
func SealedKeyFile(id string) string { return "nodes/gossip/" + id + ".age" }

// SealedKeyName says what such a file holds.
func SealedKeyName(fleet, id string) secret.ID {
	return secret.ID{Fleet: fleet, Name: "/dunlin/gossip-key/" + id, Version: 1}
}

// ParseGossipKeys reads GossipKeysFile.
func ParseGossipKeys(text []byte) (GossipKeys, error) {
	var g GossipKeys
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if len(text) > 4<<10 || d.Decode(&g) != nil || d.More() {
		return g, fmt.Errorf(`%s: not JSON such as {"v":1,"keys":["file"],"use":"file"}`, GossipKeysFile)
	}
	if g.V != 1 || len(g.Keys) == 0 || len(g.Keys) > maxGossipKeys || !slices.Contains(g.Keys, g.Use) {
		return g, fmt.Errorf("%s: 1 to %d keys, and use is one of them", GossipKeysFile, maxGossipKeys)
	}
	for i, k := range g.Keys {
		if b, err := hex.DecodeString(k); k != KeyOfFile && (err != nil || len(b) != 32) || slices.Contains(g.Keys[:i], k) {
			return g, fmt.Errorf("%s: keys are %q and SHA-256 in hex, each once", GossipKeysFile, KeyOfFile)
		}
	}
	return g, nil
}

// keyRing is what a node holds of gossip keys.
type keyRing struct {
	File []byte   `json:"file"` // of the configuration's file, or the one that a member gave
	Use  []byte   `json:"use"`
	Also [][]byte `json:"also"`
	// Giver is the member that gave the key, where the policy does not say by its id which key is used.
	Giver string `json:"giver,omitempty"`
}

// readRing reads the keys that are kept; key is that of the configuration's file, nil where it has none.
func readRing(state string, key []byte) keyRing {
	var r keyRing
	path := filepath.Join(state, gossipKeysState)
	if b, err := os.ReadFile(path); err == nil && len(b) < 8<<10 {
		if json.Unmarshal(b, &r) != nil {
			r = keyRing{}
		}
	}
	all := append([][]byte{r.File, r.Use}, r.Also...)
	if slices.ContainsFunc(all, func(k []byte) bool { return len(k) != 0 && len(k) != gossip.KeySize }) || len(all) > 2*maxGossipKeys {
		r = keyRing{}
	}
	if key != nil && !bytes.Equal(key, r.File) { // the host's own root has said another
		r.File = key
		if len(r.Also) == 0 {
			r.Use = key
		}
	}
	if len(r.Use) == 0 {
		r.Use = r.File
	}
	return r
}

func (r keyRing) write(state string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeDurably(filepath.Join(state, gossipKeysState), append(b, '\n'))
}

// find gives a key that is held.
func (r keyRing) find(id string) []byte {
	if id == KeyOfFile {
		return r.File
	}
	for _, k := range append([][]byte{r.File, r.Use}, r.Also...) {
		if len(k) > 0 && GossipKeyID(k) == id {
			return k
		}
	}
	return nil
}

func (a *Agent) ringNow() keyRing {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ring
}

func (a *Agent) setRing(r keyRing) error {
	if err := r.write(a.o.Config.State); err != nil {
		return fmt.Errorf("keep gossip keys: %w", err)
	}
	a.mu.Lock()
	a.ring = r
	a.mu.Unlock()
	return nil
}

// giveKey gives another node a gossip key, sealed to it: the one that is used, or the one that it names.
func (a *Agent) giveKey(w http.ResponseWriter, r *http.Request) {
	caller := peer.Caller(r.Context())
	ring := a.ringNow()
	key := ring.Use
	id := r.URL.Query().Get("id")
	if id != "" {
		key = ring.find(id)
	}
	a.mu.Lock()
	line, listed := a.roster[caller]
	_, active := a.pins[caller]
	a.mu.Unlock()
	if len(key) == 0 || id == KeyOfFile || !listed || !active {
		http.Error(w, "this node does not have it", http.StatusNotFound)
		return
	}
	text := base64.StdEncoding.EncodeToString(key)
	sealed, err := secret.Seal(SealedKeyName(a.fleet().Name, caller), secret.New("gossip key", []byte(text)), []string{line.Keys.Age})
	if err != nil {
		http.Error(w, "it cannot be sealed", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write([]byte(sealed))
}

// openKey opens what giveKey, or the person who rotates keys, has sealed; of is the node or key that it is for.
func (a *Agent) openKey(sealed []byte, of string) ([]byte, error) {
	raw, err := identity.AgeKey(a.o.Config.State)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	keys, err := secret.ParseKeys(raw)
	if err != nil {
		return nil, err
	}
	s, err := secret.Open(SealedKeyName(a.fleet().Name, of), string(bytes.TrimSuffix(sealed, []byte("\n"))), keys)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(string(s.Reveal()))
	if err != nil || len(key) != gossip.KeySize {
		return nil, errors.New("it is no gossip key")
	}
	return key, nil
}

// watchKeys keeps the gossip keys as the policy says, and waits for one where this node has none. It ends with ErrAgain once
// that has come.
func (a *Agent) watchKeys(ctx context.Context) error {
	if a.o.Config.Gossip == nil {
		<-ctx.Done()
		return nil
	}
	done := "" // the commit whose keys are in use
	met := a.now()
	for {
		a.mu.Lock()
		commit := ""
		_, active := a.pins[a.keys.ID()]
		if a.policy != nil {
			commit = a.policy.Commit
		}
		a.mu.Unlock()
		switch {
		case a.cluster == nil && !active:
			a.problem("gossip", "this node waits until it is let in, and then for the gossip key")
		case a.cluster == nil:
			ring, err := a.firstKey(ctx, commit)
			if err != nil {
				a.problem("gossip", "the gossip key has not come: "+one(err))
				break
			}
			if err := a.setRing(ring); err != nil {
				return err
			}
			a.log().Info("the gossip key has come")
			return ErrAgain
		case commit != "" && commit != done:
			err := a.rekey(ctx, commit)
			text := ""
			if err != nil {
				text = "gossip keys are not as the policy says: " + one(err)
			} else {
				done = commit
			}
			a.problem("gossip key", text)
		}
		if a.cluster != nil {
			if !a.metOnlyGiver() {
				met = a.now()
			} else if a.now().Sub(met) >= keyAlone {
				met = a.now()
				ring, err := a.otherKey(ctx, commit)
				if err != nil {
					a.log().Warn("this node meets nobody but who gave it the gossip key, and has no other", "error", one(err))
				} else if err := a.setRing(ring); err != nil {
					return err
				} else {
					a.log().Warn("this node met nobody but who gave it the gossip key, and takes that of another", "gave", ring.Giver)
					return ErrAgain
				}
			}
		}
		wait := keyLookEvery/2 + a.jitter(keyLookEvery)
		if a.cluster == nil && active {
			wait = keyAskEvery/2 + a.jitter(keyAskEvery)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-a.keysDue: // another policy
			t.Stop()
		case <-t.C:
		}
	}
}

// usedKey is the key that a commit says is used.
func (a *Agent) usedKey(commit string) (id string, err error) {
	text, err := a.policies.Read(commit, GossipKeysFile)
	if errors.Is(err, fs.ErrNotExist) {
		return KeyOfFile, nil
	}
	if err != nil {
		return "", err
	}
	keys, err := ParseGossipKeys(text)
	return keys.Use, err
}

// firstKey gets a node that has none its key: the one that the policy names, whoever gives it. Of the one in others' files
// nothing is known, so it is taken from who gives one.
func (a *Agent) firstKey(ctx context.Context, commit string) (keyRing, error) {
	id, err := a.usedKey(commit)
	if err != nil {
		return keyRing{}, err
	}
	if id != KeyOfFile {
		key, err := a.fetchKey(ctx, commit, id)
		return keyRing{Use: key}, err
	}
	key, giver, err := a.askKey(ctx, "", "")
	return keyRing{File: key, Use: key, Giver: giver}, err
}

// metOnlyGiver reports whether this node was given its key, and meets nobody else of a fleet that has others.
func (a *Agent) metOnlyGiver() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	giver := a.ring.Giver
	if giver == "" || a.o.GossipKey != nil {
		return false
	}
	for id := range a.online {
		if id != giver && id != a.keys.ID() {
			return false
		}
	}
	for id := range a.pins {
		if id != giver && id != a.keys.ID() {
			return true
		}
	}
	return false
}

// otherKey asks others than who gave the key for theirs. It fails where it is the same, or the policy says which is used.
func (a *Agent) otherKey(ctx context.Context, commit string) (keyRing, error) {
	id, err := a.usedKey(commit)
	if err == nil && id != KeyOfFile {
		err = errors.New("the policy says which key is used")
	}
	if err != nil {
		return keyRing{}, err
	}
	had := a.ringNow()
	key, giver, err := a.askKey(ctx, "", had.Giver)
	if err == nil && bytes.Equal(key, had.Use) {
		err = errors.New("others have the same key")
	}
	return keyRing{File: key, Use: key, Giver: giver}, err
}

// askKey asks those who may have a gossip key, the one that is used or one by its id, and not the node but. giver is who had it.
func (a *Agent) askKey(ctx context.Context, id, but string) (key []byte, giver string, err error) {
	path := "/v1/gossip-key"
	if id != "" {
		path += "?" + url.Values{"id": {id}}.Encode()
	}
	var why error
	take := func(b []byte, err error) []byte {
		if err == nil {
			var key []byte
			if key, err = a.openKey(b, a.keys.ID()); err == nil && (id == "" || GossipKeyID(key) == id) {
				return key
			}
			if err == nil {
				err = errors.New("it is another key")
			}
		}
		why = errors.Join(why, err)
		return nil
	}
	a.mu.Lock()
	var members []string
	for m := range a.online {
		if len(members) < 5 && m != a.keys.ID() && m != but {
			members = append(members, m)
		}
	}
	a.mu.Unlock()
	for _, m := range members {
		b, err := a.fromNode(ctx, m, path, 8<<10)
		if key := take(b, err); key != nil {
			return key, m, nil
		}
	}
	pins := maps.Clone(a.pinned())
	delete(pins, but)
	for _, addr := range a.o.Config.Gossip.Ask {
		who, b, err := peer.Get(ctx, addr, a.keys.TLS, pins, a.o.Network.Dial, path, 8<<10)
		if key := take(b, err); key != nil {
			return key, who, nil
		}
	}
	if why == nil {
		why = errors.New("nobody is known to ask: gossip.ask of the host's own file names nodes")
	}
	return nil, "", why
}

// rekey takes the gossip keys that a commit says.
func (a *Agent) rekey(ctx context.Context, commit string) error {
	text, err := a.policies.Read(commit, GossipKeysFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	want, err := ParseGossipKeys(text)
	if err != nil {
		return err
	}
	ring := a.ringNow()
	next := keyRing{File: ring.File}
	if want.Use == KeyOfFile {
		next.Giver = ring.Giver
	}
	for _, id := range want.Keys {
		key := ring.find(id)
		if key == nil && id != KeyOfFile {
			if key, err = a.fetchKey(ctx, commit, id); err != nil {
				return fmt.Errorf("key %.8s: %w", id, err)
			}
		}
		switch {
		case key == nil: // hosts that came later have no other file's key
		case id == want.Use:
			next.Use = key
		default:
			next.Also = append(next.Also, key)
		}
	}
	if next.Use == nil {
		next.Use = ring.Use
	}
	if err := a.setRing(next); err != nil { // before it is used: what others encrypt with must be known after a start, too
		return err
	}
	return a.cluster.SetKeys(next.Use, next.Also...)
}

// fetchKey gets a key that the policy names: from the repository, where it is sealed to some nodes, or from a node that has it.
func (a *Agent) fetchKey(ctx context.Context, commit, id string) ([]byte, error) {
	if sealed, err := a.policies.Read(commit, SealedKeyFile(id)); err == nil {
		if key, err := a.openKey(sealed, id); err == nil && GossipKeyID(key) == id {
			return key, nil
		}
	}
	key, _, err := a.askKey(ctx, id, "")
	return key, err
}
