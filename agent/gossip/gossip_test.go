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

// A member listens to nothing that is not encrypted, whatever the label says: memberlist takes both unless it is told.
func TestWhatIsNotEncryptedIsRefused(t *testing.T) {
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
	key := bytes.Repeat([]byte{7}, gossip.KeySize)
	c, err := gossip.Start(gossip.Config{Name: name, Key: key, Label: "dunlin", Bind: "127.0.0.1:0", Peer: "127.0.0.1:7951", Network: gossip.System{},
		Keys: func(string) (ed25519.PublicKey, bool) { return nil, false }, Sign: sign})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for what, tt := range map[string]struct {
		key    []byte
		label  string
		packed bool
		joins  bool
	}{
		"no key":              {nil, "dunlin", false, false},
		"another key":         {bytes.Repeat([]byte{8}, gossip.KeySize), "dunlin", false, false},
		"another label":       {key, "other", false, false},
		"no label":            {key, "", false, false},
		"the key":             {key, "dunlin", false, true},
		"the key, but packed": {key, "dunlin", true, false},
	} {
		m := memberlist.DefaultLANConfig()
		m.Name, m.BindAddr, m.BindPort, m.Label, m.SecretKey = "zyxwvutsrqponmlkjihgfedcba", "127.0.0.1", 0, tt.label, tt.key
		m.EnableCompression = tt.packed
		m.Logger = log.New(io.Discard, "", 0)
		list, err := memberlist.Create(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := list.Join([]string{name + "/" + c.Addr()}); (err == nil) != tt.joins {
			t.Errorf("with %s: %v, want joined %v", what, err, tt.joins)
		}
		if err := list.Shutdown(); err != nil {
			t.Error(err)
		}
		if n := len(c.Members()); n != 1 {
			t.Errorf("with %s: %d members", what, n) // that one is in no roster, and has signed no address
		}
	}
}

// A node that is all that its roster has misses nobody; one of several says that it finds none.
func TestAFleetOfOneMissesNobody(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for nodes, missed := range map[int]bool{1: false, 2: true} {
		told := make(chan string, 8)
		c, err := gossip.Start(gossip.Config{Name: schema.NodeID(public), Key: bytes.Repeat([]byte{7}, gossip.KeySize), Label: "dunlin", Bind: "127.0.0.1:0",
			Peer: "127.0.0.1:7951", Network: gossip.System{}, Join: []string{"127.0.0.1:1"}, Nodes: func() int { return nodes },
			Keys: func(string) (ed25519.PublicKey, bool) { return public, true }, Alone: func(text string) { told <- text },
			Sign: func(a schema.AddressRecord) (schema.Record, error) {
				body, err := json.Marshal(a)
				r := schema.Record{Node: schema.NodeID(public), Kind: schema.RecordAddress, Boot: 1, Seq: 1, Body: body}
				r.Sig = ed25519.Sign(private, r.Message())
				return r, err
			}})
		if err != nil {
			t.Fatal(err)
		}
		if got := <-told; (got != "") != missed {
			t.Errorf("of %d nodes: %q, want one missed: %v", nodes, got, missed)
		}
		c.Close()
	}
}
