package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strconv"
	"sync"

	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
)

// Secrets are what a process knows of the secrets that its host can read. It keeps no value: what was opened once is
// known by its size and by a digest with the host's key, and opened again to be written.
type Secrets struct {
	// Redactor has the values that are open, and takes them out of what is written for people.
	Redactor secret.Redactor

	mu   sync.Mutex
	seen map[[sha256.Size]byte]schema.Blob // by what is sealed, and as what
}

// maxOpened bounds what is known of secrets that were opened.
const maxOpened = 10_000

// vault opens the secrets of one policy for one pass.
type vault struct {
	*Secrets
	repo schema.Repo
	node schema.Node
	l    Local

	once   sync.Once
	keys   secret.Keys
	err    error
	forget []func()
}

// vault is for one pass, which ends it.
func (l Local) vault(policy Policy, n schema.Node) *vault {
	s := l.Secrets
	if s == nil {
		s = &Secrets{}
	}
	return &vault{Secrets: s, repo: policy.Repo, node: n, l: l}
}

// end forgets the values that were opened.
func (v *vault) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range v.forget {
		f()
	}
	v.forget = nil
}

// key is this host's, read once a pass.
func (v *vault) key() (secret.Keys, error) {
	v.once.Do(func() {
		text, err := identity.AgeKey(v.l.State)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = errors.New("this host has no key yet, to which secrets could be encrypted: dunlin node line makes one")
			}
			v.err = fmt.Errorf("%w%s", err, asRoot(err))
			return
		}
		defer clear(text)
		v.keys, v.err = secret.ParseKeys(text)
	})
	return v.keys, v.err
}

// open opens the current version of a parameter.
func (v *vault) open(parameter string) (secret.Secret, [sha256.Size]byte, error) {
	var none [sha256.Size]byte
	number, version, err := reconciler.CurrentFor(v.repo, parameter, v.node, v.l.Now())
	if err != nil {
		return secret.Secret{}, none, err
	}
	id := secret.ID{Fleet: v.repo.Fleet.Name, Name: parameter, Version: number}
	name := sha256.Sum256([]byte(id.Fleet + "\x00" + id.Name + "\x00" + strconv.Itoa(id.Version) + "\x00" + version.Value))
	keys, err := v.key()
	if err != nil {
		return secret.Secret{}, name, err
	}
	s, err := secret.Open(id, version.Value, keys)
	if errors.Is(err, secret.ErrNotReader) {
		err = fmt.Errorf("parameter %q: version %d is not encrypted to this host's key; dunlin param rotate %s encrypts it to its readers of today", parameter, number, parameter)
	}
	return s, name, err
}

// Look implements file.Secrets.
func (v *vault) Look(parameter string) (schema.Blob, error) {
	number, version, err := reconciler.CurrentFor(v.repo, parameter, v.node, v.l.Now())
	if err != nil {
		return schema.Blob{}, err
	}
	name := sha256.Sum256([]byte(v.repo.Fleet.Name + "\x00" + parameter + "\x00" + strconv.Itoa(number) + "\x00" + version.Value))
	v.mu.Lock()
	b, ok := v.seen[name]
	v.mu.Unlock()
	if ok {
		return b, nil
	}
	s, name, err := v.open(parameter)
	if err != nil {
		return schema.Blob{}, err
	}
	defer s.Wipe()
	sum := sha256.Sum256(s.Reveal())
	b.Size = int64(s.Len())
	if b.SHA256, err = v.Digest(parameter, hex.EncodeToString(sum[:])); err != nil {
		return schema.Blob{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen == nil || len(v.seen) >= maxOpened {
		v.seen = map[[sha256.Size]byte]schema.Blob{}
	}
	v.seen[name] = b
	return b, nil
}

// Digest implements file.Secrets.
func (v *vault) Digest(parameter, sum string) (string, error) {
	keys, err := v.key()
	if err != nil {
		return "", err
	}
	return keys.Digest(parameter + "\x00" + sum)
}

// Open implements file.Secrets.
func (v *vault) Open(parameter string) (value []byte, done func(), err error) {
	s, _, err := v.open(parameter)
	if err != nil {
		return nil, nil, err
	}
	forget := v.Redactor.Add(s)
	v.mu.Lock()
	v.forget = append(v.forget, forget)
	v.mu.Unlock()
	return s.Reveal(), s.Wipe, nil
}

// quietly is a pass that writes down and tells nothing of secrets that are open, whatever the programs say that it
// starts: the last net.
func (v *vault) quietly(p reconciler.Pass) reconciler.Pass {
	if p.Journal != nil {
		p.Journal = quietJournal{p.Journal, v}
	}
	if tell := p.Progress; tell != nil {
		p.Progress = func(s reconciler.Step) {
			s.Doing = v.Redactor.Text(s.Doing)
			if s.Done != nil {
				c := v.change(*s.Done)
				s.Done = &c
			}
			tell(s)
		}
	}
	return p
}

// converge is the whole of a pass; values that it opened are forgotten at its end.
func (v *vault) converge(ctx context.Context, p reconciler.Pass, plan schema.Plan) ([]schema.Change, error) {
	defer v.end()
	changes, err := v.unbroken(ctx, p, plan)
	for i, c := range changes {
		changes[i] = v.change(c)
	}
	if err != nil {
		if text := v.Redactor.Text(err.Error()); text != err.Error() {
			err = errors.New(text) // what it wraps has the secret
		}
	}
	return changes, err
}

// unbroken panics with no secret that is open: Go prints what a panic says.
func (v *vault) unbroken(ctx context.Context, p reconciler.Pass, plan schema.Plan) ([]schema.Change, error) {
	var broken string
	changes, err := func() ([]schema.Change, error) {
		defer func() {
			if r := recover(); r != nil {
				broken = v.Redactor.Text(fmt.Sprintf("%v\n\n%s", r, debug.Stack()))
			}
		}()
		return v.quietly(p).Converge(ctx, plan)
	}()
	if broken != "" {
		panic(broken) // the first one is over, and not printed any more
	}
	return changes, err
}

func (v *vault) change(c schema.Change) schema.Change {
	c.Want, c.Got, c.Reason = v.Redactor.Text(c.Want), v.Redactor.Text(c.Got), v.Redactor.Text(c.Reason)
	return c
}

type quietJournal struct {
	reconciler.Journal
	v *vault
}

func (j quietJournal) Intend(commit string, intents []schema.Intent) (func([]schema.Result) error, error) {
	done, err := j.Journal.Intend(commit, intents)
	if err != nil {
		return nil, err
	}
	return func(results []schema.Result) error {
		for i := range results {
			results[i] = j.result(results[i])
		}
		return done(results)
	}, nil
}

func (j quietJournal) Settle(resource string, action schema.Action, r schema.Result) error {
	return j.Journal.Settle(resource, action, j.result(r))
}

func (j quietJournal) result(r schema.Result) schema.Result {
	r.Reason = j.v.Redactor.Text(r.Reason)
	return r
}
