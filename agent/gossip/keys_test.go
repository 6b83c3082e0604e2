package gossip_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"log"
	"testing"

	"github.com/hashicorp/memberlist"

	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/schema"
)

// While a key is exchanged both are taken; from the last step on what is encrypted with the old one is not, whatever else its sender
// has.
func TestAKeyThatIsRemovedIsTakenNoMore(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	name := schema.NodeID(public)
	sign := func(a schema.AddressRecord) (schema.Record, error) {
		body, err := json.Marshal(a)
		r := schema.Record{Node: name, Kind: schema.RecordAddress, Boot: 1, Seq: 1, Body: body}
		r.Sig = ed25519.Sign(private, r.Message())
		return r, err
	}
	before, after := bytes.Repeat([]byte{7}, gossip.KeySize), bytes.Repeat([]byte{8}, gossip.KeySize)
	c, err := gossip.Start(gossip.Config{Name: name, Key: before, Label: "dunlin", Bind: "127.0.0.1:0", Peer: "127.0.0.1:7951", Network: gossip.System{},
		Keys: func(string) (ed25519.PublicKey, bool) { return nil, false }, Sign: sign})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	joins := func(use []byte, also ...[]byte) bool {
		t.Helper()
		m := memberlist.DefaultLANConfig()
		m.Name, m.BindAddr, m.BindPort, m.Label = "zyxwvutsrqponmlkjihgfedcba", "127.0.0.1", 0, "dunlin"
		m.EnableCompression, m.Logger = false, log.New(io.Discard, "", 0)
		ring, err := memberlist.NewKeyring(also, use)
		if err != nil {
			t.Fatal(err)
		}
		m.Keyring = ring
		list, err := memberlist.Create(m)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = list.Shutdown() }()
		_, err = list.Join([]string{name + "/" + c.Addr()})
		return err == nil
	}
	for _, tt := range []struct {
		step                       string
		use                        []byte
		also                       [][]byte
		oldAlone, oldFirst, newOne bool
	}{
		{"add", before, [][]byte{after}, true, true, false}, // who has the new one alone reads no answer yet
		{"use", after, [][]byte{before}, false, true, true},
		{"remove", after, nil, false, false, true},
	} {
		if err := c.SetKeys(tt.use, tt.also...); err != nil {
			t.Fatal(err)
		}
		for who, got := range map[string][2]bool{
			"with the old key":               {joins(before), tt.oldAlone},
			"with both, encrypting with old": {joins(before, after), tt.oldFirst},
			"with the new key":               {joins(after), tt.newOne},
		} {
			if got[0] != got[1] {
				t.Errorf("%s: who comes %s joins: %v, want %v", tt.step, who, got[0], got[1])
			}
		}
	}
}
