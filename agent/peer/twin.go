package peer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// Another host with this node's key is no peer, but each of the two can show the other that it is there: who completes a
// handshake with the key holds it now, and who says another name of its start is another program.
const (
	twinPath = "/v1/twin"
	maxStart = 64
)

// errSelf is wrapped where a peer has this node's own key.
var errSelf = errors.New("it has this node's own key: is it a copy of this host?")

// twin answers who has this node's key, which may be this node itself.
func (p *Peers) twin(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	if r.Method != http.MethodGet || r.URL.Path != twinPath {
		http.Error(w, errSelf.Error(), http.StatusForbidden)
		return
	}
	if its := r.URL.Query().Get("start"); p.isTwin(its) && p.config.Twin != nil {
		p.config.Twin()
	}
	_, _ = w.Write([]byte(p.config.Start))
}

func (p *Peers) isTwin(start string) bool {
	return start != "" && len(start) <= maxStart && start != p.config.Start
}

// Meet asks who has this node's key at an address, and reports whether that is another host, or another agent on this one. The
// other is told the same.
func (p *Peers) Meet(ctx context.Context, addr string) (twin bool, err error) {
	own, err := x509.ParseCertificate(p.config.Cert.Certificate[0])
	if err != nil {
		return false, fmt.Errorf("own certificate: %w", err)
	}
	path := twinPath + "?" + url.Values{"start": {p.config.Start}}.Encode()
	_, text, err := Get(ctx, addr, p.config.Cert, map[string]string{p.config.Self: pinOf(own)}, p.config.Dial, path, maxStart)
	return err == nil && p.isTwin(string(text)), err
}
