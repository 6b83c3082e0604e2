package gossip_test

import (
	"bytes"
	"io"
	"log"
	"testing"

	"github.com/hashicorp/memberlist"

	"github.com/dunlin-dev/dunlin/agent/gossip"
)

// A member listens to nothing that is not encrypted, whatever the label says: memberlist takes both unless it is told.
func TestWhatIsNotEncryptedIsRefused(t *testing.T) {
	const name = "abcdefghijklmnopqrstuvwxyz"
	key := bytes.Repeat([]byte{7}, gossip.KeySize)
	c, err := gossip.Start(gossip.Config{Name: name, Key: key, Label: "dunlin", Bind: "127.0.0.1:0", Peer: "127.0.0.1:7951", Network: gossip.System{}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for what, tt := range map[string]struct {
		key   []byte
		label string
		joins bool
	}{
		"no key":        {nil, "dunlin", false},
		"another key":   {bytes.Repeat([]byte{8}, gossip.KeySize), "dunlin", false},
		"another label": {key, "other", false},
		"no label":      {key, "", false},
		"the key":       {key, "dunlin", true},
	} {
		m := memberlist.DefaultLANConfig()
		m.Name, m.BindAddr, m.BindPort, m.Label, m.SecretKey = "zyxwvutsrqponmlkjihgfedcba", "127.0.0.1", 0, tt.label, tt.key
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
			t.Errorf("with %s: %d members", what, n) // that one names no peer address
		}
	}
}
