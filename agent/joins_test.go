package agent

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/peer"
	"github.com/dunlin-dev/dunlin/agent/record"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

func codeOf(n int) ed25519.PrivateKey {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("code"), uint64(n)))
	return ed25519.NewKeyFromSeed(sum[:])
}

func publicLine(key ed25519.PrivateKey) string {
	return "ssh-ed25519 " + base64.StdEncoding.EncodeToString(append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), key.Public().(ed25519.PublicKey)...))
}

// doorkeeper is an agent with a policy that has one activation, and nothing else but a clock.
func doorkeeper(t *testing.T, now *time.Time, change ...func(*schema.Activation)) *Agent {
	t.Helper()
	state := t.TempDir()
	keys, err := identity.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{keys: keys}
	a.o.Config.State, a.o.Log = state, slog.New(slog.DiscardHandler)
	a.o.Local.Now = func() time.Time { return *now }
	a.asks.joins = map[string]trust.Join{}
	if a.policies, err = gitrepo.OpenStore(t.TempDir(), gitrepo.Remote{}); err != nil {
		t.Fatal(err)
	}
	a.fleets = NewFleets(nil)
	a.records = record.New(record.Config{Key: keys.Sign, Boot: 1, Keys: a.signingKey})
	act := schema.Activation{PublicKey: publicLine(codeOf(0)), Expires: now.Add(29 * 24 * time.Hour), Limit: 1000}
	for _, f := range change {
		f(&act)
	}
	a.policy = &Policy{Repo: schema.Repo{Fleet: schema.Fleet{Name: "acme"}, Activations: map[string]schema.Activation{"act-web": act}}}
	a.keysOf = map[string]ed25519.PublicKey{keys.ID(): keys.Public()}
	return a
}

// knocks is what a host says on a connection.
func knocks(t *testing.T, host identity.Keys, code ed25519.PrivateKey, n int, from string, at time.Time) peer.Stranger {
	t.Helper()
	exporter := binary.BigEndian.AppendUint64(make([]byte, 24), uint64(n))
	p := trust.Proof{Fleet: "acme", Activation: "act-web", Channel: trust.TLSChannel(exporter), At: at.UTC().Truncate(time.Second).Format(time.RFC3339),
		ID: host.ID(), Name: "web", OS: "debian", Keys: host.Line("web", "debian", nil, at).Keys}.Sign(host.Sign, code)
	return peer.Stranger{Pin: host.TLSPin(), Addr: from, Exporter: exporter, Message: p.Encode()}
}

func TestGuessesLetNobodyIn(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	a := doorkeeper(t, &now)
	host, err := identity.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const tries = 10_000
	began := now
	answers := map[int]int{}
	heard := map[string][]time.Time{} // by source, when a guess was looked at
	var all []time.Time
	s := knocks(t, host, codeOf(1), 0, "", now)
	for n := range tries {
		now = now.Add(2 * time.Second)
		source := fmt.Sprintf("10.0.0.%d", n%7)
		if n%3 == 0 {
			source = fmt.Sprintf("[2001:db8::%x]", n) // one network of IPv6 is one source
		}
		s.Addr = source + ":40000"
		if n%100 == 0 { // another code; to sign each guess would be most of the test
			s = knocks(t, host, codeOf(n+1), n, s.Addr, began)
		}
		status, text := a.stranger(t.Context(), s)
		answers[status]++
		switch status {
		case http.StatusForbidden:
			if !strings.HasPrefix(text, "code: ") {
				t.Fatalf("guess %d: %s", n, text)
			}
			if n%3 == 0 {
				source = "v6"
			}
			heard[source] = append(heard[source], now)
			all = append(all, now)
		case http.StatusTooManyRequests:
		default:
			t.Fatalf("guess %d: %d %s", n, status, text)
		}
	}
	if len(a.asks.joins) != 0 || len(a.Joins()) != 0 {
		t.Errorf("%d guesses let somebody in: %v", tries, a.Joins())
	}
	hours := now.Sub(began).Hours()
	if most := int(guessesInAll * (hours + 1)); len(all) > most || answers[http.StatusTooManyRequests] != tries-len(all) {
		t.Errorf("in %.1f hours %d guesses were looked at, more than %d; answers %v", hours, len(all), most, answers)
	}
	for source, when := range heard {
		for i := range when {
			if j := i + guessesPerSource*2; j < len(when) && when[j].Sub(when[i]) < time.Minute {
				t.Errorf("%s: more than %d guesses within a minute", source, guessesPerSource*2)
			}
		}
	}
	t.Logf("%d guesses in %.1f hours: %d looked at, %d turned away", tries, hours, len(all), answers[http.StatusTooManyRequests])
	// Who holds the code is heard all the same, and however often: guesses close the door to those who guess.
	if status, _ := a.stranger(t.Context(), knocks(t, host, codeOf(1), tries, "10.0.1.2:1", now)); status != http.StatusTooManyRequests {
		t.Errorf("one more guess, from another address: %d", status)
	}
	for n := range 50 {
		if status, text := a.stranger(t.Context(), knocks(t, host, codeOf(0), tries+n, "10.0.1.1:1", now)); status == http.StatusTooManyRequests || strings.HasPrefix(text, "code") {
			t.Fatalf("the holder of the code, try %d: %d %s", n, status, text)
		}
	}
}

// One address that guesses as often as it may keeps nobody out who holds a code; nor do those who have none and send what is
// no proof, or one for another connection.
func TestWhoGuessesKeepsNobodyOut(t *testing.T) {
	host, err := identity.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*peer.Stranger){
		"guesses":            func(*peer.Stranger) {},
		"no proofs":          func(s *peer.Stranger) { s.Message = []byte("{}") },
		"another connection": func(s *peer.Stranger) { s.Exporter = make([]byte, 32) },
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
			a := doorkeeper(t, &now)
			s := knocks(t, host, codeOf(1), 1, "10.0.0.1:1", now)
			change(&s)
			answers := map[int]int{}
			for range 400 { // as many as one address may in 80 minutes
				now = now.Add(12 * time.Second)
				status, _ := a.stranger(t.Context(), s)
				answers[status]++
			}
			if name == "guesses" && (answers[http.StatusForbidden] > 2*guessesInAll+50 || answers[http.StatusTooManyRequests] == 0) {
				t.Errorf("guesses are answered %v", answers)
			}
			if status, text := a.stranger(t.Context(), knocks(t, host, codeOf(0), 2, "10.0.0.2:1", now)); status == http.StatusTooManyRequests || strings.HasPrefix(text, "code") {
				t.Errorf("who holds the code: %d %s", status, text)
			}
		})
	}
	// What it costs to look is bounded whoever asks, from however many addresses.
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	var g guesses
	heard := 0
	for n := range 3 * looksPerMinute {
		if g.take(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), now) {
			heard++
		}
	}
	if heard != looksPerMinute {
		t.Errorf("%d are looked at in a moment, want %d", heard, looksPerMinute)
	}
}

func TestStrangersAreToldLittle(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	host, err := identity.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		act    func(*schema.Activation)
		change func(*peer.Stranger)
		code   int
		status int
		text   string
	}{
		{"a proof for another connection", nil, func(s *peer.Stranger) { s.Exporter = make([]byte, 32) }, 0, http.StatusForbidden, "relay: "},
		{"another key on the connection", nil, func(s *peer.Stranger) { s.Pin = strings.Repeat("a", 64) }, 0, http.StatusForbidden, "relay: "},
		{"another network", func(a *schema.Activation) { a.Networks = []string{"10.0.0.0/8"} }, func(s *peer.Stranger) { s.Addr = "192.0.2.1:5" }, 0, http.StatusForbidden, "network: "},
		{"the network, without the code", func(a *schema.Activation) { a.Networks = []string{"10.0.0.0/8"} }, func(s *peer.Stranger) { s.Addr = "192.0.2.1:5" }, 3, http.StatusForbidden, "code: "},
		{"the end, without the code", func(a *schema.Activation) { a.Expires = now }, nil, 3, http.StatusForbidden, "code: "},
		{"the end", func(a *schema.Activation) { a.Expires = now }, nil, 0, http.StatusForbidden, "expired: "},
		{"nothing that is a proof", nil, func(s *peer.Stranger) { s.Message = []byte("{}") }, 0, http.StatusBadRequest, "not a join proof"},
		{"no address", nil, func(s *peer.Stranger) { s.Addr = "here" }, 0, http.StatusForbidden, "network: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var change []func(*schema.Activation)
			if tt.act != nil {
				change = append(change, tt.act)
			}
			a := doorkeeper(t, &now, change...)
			s := knocks(t, host, codeOf(tt.code), 1, "10.1.1.1:5", now)
			if tt.change != nil {
				tt.change(&s)
			}
			if status, text := a.stranger(t.Context(), s); status != tt.status || !strings.HasPrefix(text, tt.text) {
				t.Errorf("%d %q, want %d %q", status, text, tt.status, tt.text)
			}
			if len(a.asks.joins) != 0 {
				t.Error("it is kept")
			}
		})
	}
}

func TestWhoAsksIsKeptWithinBounds(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	a := doorkeeper(t, &now)
	recipient, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	join := func(n int) trust.Join {
		key := codeOf(1000 + n)
		id := schema.NodeID(key.Public().(ed25519.PublicKey))
		return trust.Join{Proof: trust.Proof{Fleet: "acme", Activation: "act-web", Channel: trust.TLSChannel(make([]byte, 32)), At: now.Format(time.RFC3339), ID: id, Name: fmt.Sprint("web-", n), OS: "debian",
			Keys: schema.RosterKeys{Sign: publicLine(key), Age: recipient.Recipient().String(), TLS: strings.Repeat("a", 64)}}.Sign(key, codeOf(0))}
	}
	kept := 0
	for n := range maxAsking + 20 {
		if err := a.keepJoin(join(n), 1000); err == nil {
			kept++
		}
	}
	if kept != maxAsking || len(a.Joins()) != maxAsking {
		t.Errorf("%d are kept, %d told, want %d", kept, len(a.Joins()), maxAsking)
	}
	if back := readJoins(a.o.Config.State); len(back) != maxAsking {
		t.Errorf("after a start %d are known", len(back))
	}
	size := 0
	for _, r := range a.records.Of(schema.RecordJoin) {
		size += len(r.Body)
	}
	if size > record.MaxBytes/2 {
		t.Errorf("they are told in %d bytes", size)
	}
	// Who is let in asks no more, nor anybody once the activation is gone.
	one := join(0)
	a.roster = map[string]schema.RosterLine{one.Proof.ID: {ID: one.Proof.ID}}
	a.settleJoins()
	if got := len(a.Joins()); got != maxAsking-1 {
		t.Errorf("%d ask after one was let in", got)
	}
	a.policy = &Policy{Repo: schema.Repo{Fleet: schema.Fleet{Name: "acme"}}}
	a.settleJoins()
	if got := len(a.asks.joins); got != 0 {
		t.Errorf("%d ask with no activation", got)
	}
}

// One code takes no more places than it may let hosts in, and a few; and where all are taken, not that of another code.
func TestOneCodeTakesNotAllPlaces(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	a := doorkeeper(t, &now)
	other := a.policy.Repo.Activations["act-web"]
	other.PublicKey = publicLine(codeOf(5))
	a.policy.Repo.Activations["act-db"] = other
	recipient, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(n int, act string, code ed25519.PrivateKey, room int) (string, error) {
		now = now.Add(time.Second)
		key := codeOf(1000 + n)
		p := trust.Proof{Fleet: "acme", Activation: act, Channel: trust.TLSChannel(make([]byte, 32)), At: now.Format(time.RFC3339), ID: schema.NodeID(key.Public().(ed25519.PublicKey)), Name: fmt.Sprint("web-", n), OS: "debian",
			Keys: schema.RosterKeys{Sign: publicLine(key), Age: recipient.Recipient().String(), TLS: strings.Repeat("a", 64)}}.Sign(key, code)
		return p.ID, a.keepJoin(trust.See(p, netip.MustParseAddr("10.0.0.1"), now, a.keys.Sign), room)
	}
	var ids []string
	for n := range 3 + spareAsking + 5 { // it may let in three
		id, err := ask(n, "act-web", codeOf(0), 3)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	told := strings.Join(a.Joins(), "\n")
	if len(a.asks.joins) != 3+spareAsking || len(a.Joins()) != 3+spareAsking {
		t.Errorf("%d wait, %d are told, want %d", len(a.asks.joins), len(a.Joins()), 3+spareAsking)
	}
	for i, id := range ids {
		if stays := i >= 5; strings.Contains(told, id) != stays || (a.asks.joins[id].Proof.ID == id) != stays {
			t.Errorf("the host that asked as number %d waits: %t", i, !stays)
		}
	}
	for n := range maxAsking { // a code for many takes what is left
		_, err = ask(100+n, "act-web", codeOf(0), 1000)
	}
	if err == nil || len(a.asks.joins) != maxAsking {
		t.Fatalf("%d wait: %v", len(a.asks.joins), err)
	}
	for n := range maxAsking {
		if _, err = ask(500+n, "act-db", codeOf(5), 1000); err != nil {
			break
		}
	}
	waits := map[string]int{}
	for _, j := range a.asks.joins {
		waits[j.Proof.Activation]++
	}
	if waits["act-web"] != maxAsking/2 || waits["act-db"] != maxAsking/2 || len(readJoins(a.o.Config.State)) != maxAsking {
		t.Errorf("of two codes there wait %v", waits)
	}
}
