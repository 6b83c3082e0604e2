package agenttest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// serve is what the user git may do over SSH, as forges have it: the key says who asks.
const serve = `#!/bin/sh
echo "$SSH_ORIGINAL_COMMAND" >>/srv/git/.commands
case "$1 $SSH_ORIGINAL_COMMAND" in
"ro git-receive-pack "*)
	echo 'ERROR: The key you are authenticating with has been marked as read only.' >&2
	exit 1 ;;
esac
[ ! -e /srv/git/.readonly ] || case "$SSH_ORIGINAL_COMMAND" in
git-receive-pack*)
	echo 'ERROR: this repository is archived and read only.' >&2
	exit 1 ;;
esac
exec git shell -c "$SSH_ORIGINAL_COMMAND"
`

// hook refuses the branches that refused lists, with what else it says.
const hook = `#!/bin/sh
while read -r old new ref; do
	if grep -qxF "$ref" refused 2>/dev/null; then
		echo "policy: $ref is protected" >&2
		exit 1
	fi
done
`

// enter gives a program the world of the server: its user and its repository, for this program alone.
const enter = `set -e
dir=$1; shift
mount -t tmpfs -o mode=755 tmpfs /srv
mkdir /srv/git
mount --bind "$dir/git" /srv/git
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/sshd
for f in passwd group shadow; do mount --bind "$dir/$f" /etc/$f; done
exec "$@"
`

func (g *GitServer) makeFolder() error {
	home := filepath.Join(g.dir, "git")
	g.Dir, g.Work = filepath.Join(home, "policy.git"), filepath.Join(g.dir, "work")
	write := func(name, text string, mode os.FileMode) error {
		path := filepath.Join(g.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(text), mode)
	}
	for file, line := range map[string]string{
		"passwd": fmt.Sprintf("git:x:%d:%d::/srv/git:/bin/sh", gitUser, gitUser),
		"group":  fmt.Sprintf("git:x:%d:", gitUser),
		"shadow": "git:*:19000:0:99999:7:::",
	} {
		old, err := os.ReadFile("/etc/" + file)
		if err != nil {
			return err
		}
		if err := write(file, strings.TrimRight(string(old), "\n")+"\n"+line+"\n", 0o644); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(g.dir, "shadow"), 0o600); err != nil {
		return err
	}
	host, err := g.keygen("host_ed25519")
	if err != nil {
		return err
	}
	g.KnownHosts = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(host)))
	g.Fingerprint = ssh.FingerprintSHA256(host)
	rw, err := g.keygen("key")
	if err != nil {
		return err
	}
	ro, err := g.keygen("reader_key")
	if err != nil {
		return err
	}
	for into, name := range map[*string]string{&g.Key: "key", &g.ReaderKey: "reader_key"} {
		b, err := os.ReadFile(filepath.Join(g.dir, name))
		if err != nil {
			return err
		}
		*into = string(b)
	}
	for name, text := range map[string]string{
		"enter": enter,
		"git/.ssh/authorized_keys": fmt.Sprintf("restrict,command=\"/srv/git/.serve rw\" %srestrict,command=\"/srv/git/.serve ro\" %s",
			ssh.MarshalAuthorizedKey(rw), ssh.MarshalAuthorizedKey(ro)),
		"sshd_config": "HostKey " + filepath.Join(g.dir, "host_ed25519") + `
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers git
UsePAM no
StrictModes yes
PrintMotd no
LogLevel ERROR
`,
	} {
		if err := write(name, text, 0o644); err != nil {
			return err
		}
	}
	if err := write("git/.serve", serve, 0o755); err != nil {
		return err
	}
	init := exec.Command("git", "init", "-q", "--bare", "-b", "main", g.Dir)
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("git init: %w: %s", err, out)
	}
	// What forges check of each push.
	for _, kv := range [][2]string{{"http.receivepack", "true"}, {"transfer.fsckObjects", "true"}, {"receive.autogc", "false"}} {
		if out, err := exec.Command("git", "--git-dir", g.Dir, "config", kv[0], kv[1]).CombinedOutput(); err != nil {
			return fmt.Errorf("git config: %w: %s", err, out)
		}
	}
	if err := write("git/policy.git/hooks/pre-receive", hook, 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, gitUser, gitUser)
	})
}

// keygen makes a key as a person does.
func (g *GitServer) keygen(name string) (ssh.PublicKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, name)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(g.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(private.Public())
}

// makeCertificate makes an authority, and a certificate of it for the server.
func (g *GitServer) makeCertificate() error {
	sign := func(c, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		if by == nil {
			parent, by = c, key
		}
		c.SerialNumber = big.NewInt(time.Now().UnixNano())
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
		if err != nil {
			return nil, nil, err
		}
		c, err = x509.ParseCertificate(der)
		return c, key, err
	}
	ca, caKey, err := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "Test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	if err != nil {
		return err
	}
	leaf, key, err := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "sw"}, DNSNames: []string{"sw"},
		IPAddresses: []net.IP{net.ParseIP("10.77.0.254"), net.ParseIP("127.0.0.1")},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca, caKey)
	if err != nil {
		return err
	}
	g.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
	g.cert = tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
	return os.WriteFile(filepath.Join(g.dir, "ca.pem"), []byte(g.CA), 0o644)
}
