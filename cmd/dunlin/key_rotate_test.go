package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/schema"
)

// useless is a key of the form of age's to which nothing can be encrypted: the point 0.
const useless = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z"

// spoil gives the roster another age key for a node.
func (l *paramLab) spoil(state, key string) {
	l.t.Helper()
	k, err := identity.Open(state)
	if err != nil {
		l.t.Fatal(err)
	}
	path := filepath.Join("nodes", k.ID()[:2]+".jsonl")
	text := l.file(path)
	spoilt := strings.ReplaceAll(text, k.Age, key)
	if spoilt == text {
		l.t.Fatalf("%s has no key %s", path, k.Age)
	}
	l.write(filepath.Join(l.dir, path), spoilt)
}

func TestSecretsAreSealedWithoutAKeyThatDoesNotWork(t *testing.T) {
	for name, key := range map[string]string{"of low order": useless, "letters alone": "age1" + strings.Repeat("q", 58)} {
		t.Run(name, func(t *testing.T) {
			l := newParamLab(t)
			good, bad := l.node("web-1", "web", schema.NodeActive), l.node("evil-1", "web", schema.NodeActive)
			l.spoil(bad, key)
			code, out, errs := l.run(hunter, "param", "put", "/web/pass", "--type", "SecureString", "--target", "tag:role=web")
			if code != 0 || !strings.Contains(out, "encrypted to 1 node and 2 keys of recovery") || !strings.Contains(errs, "NOT encrypted to evil-1") {
				t.Fatalf("put: exit %d: %s%s", code, out, errs)
			}
			if strings.Contains(l.file("parameters/web/pass.cue"), key) {
				t.Error("the version says that it is encrypted to that key")
			}
			if got := l.ok("", "param", "get", "/web/pass", "--reveal", "--state", good); got != hunter+"\n" {
				t.Errorf("its reader has %q", got)
			}
			if out := l.ok("", "param", "rotate"); !strings.Contains(out, "cannot be read yet by evil-1") {
				t.Errorf("rotate lists %q", out)
			}
			late := l.node("web-2", "web", schema.NodeActive)
			code, out, errs = l.run("", "param", "rotate", "/web/pass", "--identity", l.recovery[0])
			if code != 0 || !strings.Contains(out, "encrypted anew") || !strings.Contains(errs, "NOT encrypted to evil-1") {
				t.Fatalf("rotate: exit %d: %s%s", code, out, errs)
			}
			if got := l.ok("", "param", "get", "/web/pass", "--reveal", "--state", late); got != hunter+"\n" {
				t.Errorf("the new reader has %q", got)
			}
			if code, out, errs := l.run(hunter+"2", "param", "put", "/web/pass", "-o", "json"); code != 0 || !strings.Contains(out, `"leftOut"`) || strings.Contains(errs, hunter) {
				t.Errorf("put -o json: exit %d: %s%s", code, out, errs)
			}
		})
	}
}

func TestGossipKeyIsSealedToNodesWhoseKeysWork(t *testing.T) {
	l := newParamLab(t)
	var bad []string
	for n := range agent.SealedKeyReaders + 4 {
		name := fmt.Sprintf("web-%d", n)
		if n < 2 {
			name = fmt.Sprintf("evil-%d", n)
		}
		state := l.node(name, "web", schema.NodeActive)
		if n < 2 {
			bad = append(bad, state)
		}
	}
	l.spoil(bad[0], useless)
	l.spoil(bad[1], "age1"+strings.Repeat("q", 58))
	code, out, errs := l.run("", "key", "gossip", "rotate", "--repo", l.dir, "-o", "json")
	var v struct {
		Step, Key string
		LeftOut   []string
	}
	if code != 0 || json.Unmarshal([]byte(out), &v) != nil || v.Step != "add" {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if stanzas := len(regexp.MustCompile(`BEGIN AGE`).FindAllString(l.file(agent.SealedKeyFile(v.Key)), -1)); stanzas != 1 {
		t.Errorf("%d sealed texts", stanzas)
	}
	for _, name := range v.LeftOut {
		if !strings.HasPrefix(name, "evil-") || !strings.Contains(errs, name) {
			t.Errorf("%s is left out; it says %s", name, errs)
		}
	}
}

func TestGossipKeyNeedsOneNodeWhoseKeyWorks(t *testing.T) {
	l := newParamLab(t)
	l.spoil(l.node("evil-1", "web", schema.NodeActive), useless)
	code, out, errs := l.run("", "key", "gossip", "rotate", "--repo", l.dir)
	if code == 0 || !strings.Contains(errs, "evil-1") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	l.node("web-1", "web", schema.NodeActive)
	code, out, errs = l.run("", "key", "gossip", "rotate", "--repo", l.dir)
	if code != 0 || !strings.Contains(out, "add the gossip key") {
		t.Errorf("with another: exit %d: %s%s", code, out, errs)
	}
}
