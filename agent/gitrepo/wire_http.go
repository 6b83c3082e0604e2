package gitrepo

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// httpsRemote speaks the smart protocol over TLS.
type httpsRemote struct {
	base, service string
	user, pass    string
	client        *http.Client
	transport     *http.Transport
	caps          string
}

// tokenUser is who a token alone is the password of: every large host takes any user.
const tokenUser = "x-access-token"

func openHTTPS(t target, service string) (conn, error) {
	h := &httpsRemote{base: t.url.String(), service: service}
	secret, err := t.secret()
	if err != nil {
		return nil, err
	}
	if line, _, _ := strings.Cut(string(secret), "\n"); strings.TrimSpace(line) != "" {
		line = strings.TrimSpace(line)
		user, pass, ok := strings.Cut(line, ":")
		if !ok {
			user, pass = tokenUser, line
		}
		h.user, h.pass = user, pass
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := readSmall(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w: %w", ErrUnknownHost, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %q holds no certificate: %w", t.CAFile, ErrUnknownHost)
		}
	}
	h.transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 20 * time.Second, ResponseHeaderTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, MaxIdleConns: 1,
	}
	h.client = &http.Client{Transport: h.transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		// The credential goes to no other host, and a push is not repeated elsewhere.
		if len(via) > 3 || req.URL.Scheme != "https" || req.URL.Host != via[0].URL.Host || req.Method != http.MethodGet {
			return fmt.Errorf("redirected to %q: %w; use that URL if it is right", hide(req.URL.String()), ErrUnreachable)
		}
		return nil
	}}
	return h, nil
}

// readSmall reads a file of at most 1 MiB.
func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20+1))
	if err == nil && len(b) > 1<<20 {
		err = fmt.Errorf("%q: more than 1 MiB: %w", name, ErrTooLarge)
	}
	return b, err
}

func (h *httpsRemote) close() { h.transport.CloseIdleConnections() }

// do sends one request and gives an answer that is a Git server's.
func (h *httpsRemote) do(req *http.Request, kind string) (*http.Response, error) {
	req.Header.Set("User-Agent", "git/dunlin")
	if h.user != "" || h.pass != "" {
		req.SetBasicAuth(h.user, h.pass)
	}
	res, err := h.client.Do(req)
	if err != nil {
		return nil, httpError(err)
	}
	switch code := res.StatusCode; {
	case code == http.StatusOK && res.Header.Get("Content-Type") == kind:
		return res, nil
	case code == http.StatusOK:
		err = notGit(fmt.Errorf("type %q", clip(res.Header.Get("Content-Type"))))
	case code == http.StatusUnauthorized:
		err = fmt.Errorf("%w: the server wants another credential (401); check the credential file", ErrAuth)
	case code == http.StatusForbidden:
		err = fmt.Errorf("%w: the server forbids it (403); the credential needs the right to do this", ErrAuth)
	case code == http.StatusRequestEntityTooLarge:
		err = fmt.Errorf("%w: the server takes no push of this size (413)", ErrTooLarge)
	case code == http.StatusNotFound:
		err = fmt.Errorf("%w: no repository there, or hidden from this credential (404); check the URL", ErrUnreachable)
	default:
		err = fmt.Errorf("%w: the server says %d", ErrUnreachable, code)
	}
	_ = res.Body.Close()
	return nil, err
}

// httpError tells a certificate that is not trusted from a network that fails. The URL in it is dropped: the caller has it.
func httpError(err error) error {
	var ue interface{ Unwrap() error }
	if errors.As(err, &ue) && ue.Unwrap() != nil {
		err = ue.Unwrap()
	}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		remedy := "give the CA that signed it as the CA file"
		var name x509.HostnameError
		var invalid x509.CertificateInvalidError
		switch {
		case errors.As(err, &name):
			remedy = "use a name that the certificate has, or add this one to it"
		case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
			remedy = "renew it, or set this host's clock"
		}
		return fmt.Errorf("%w: %w; %s", ErrUnknownHost, err, remedy)
	}
	if errors.Is(err, ErrUnreachable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

func (h *httpsRemote) refs(ctx context.Context) (map[string]plumbing.Hash, string, error) {
	const path = "/info/refs"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base+path+"?service="+h.service, nil)
	if err != nil {
		return nil, "", err
	}
	res, err := h.do(req, "application/x-"+h.service+"-advertisement")
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	if to := *res.Request.URL; strings.HasSuffix(to.Path, path) {
		to.Path, to.RawQuery = strings.TrimSuffix(to.Path, path), ""
		h.base = to.String()
	}
	refs, caps, err := readRefs(res.Body)
	h.caps = caps
	return refs, caps, err
}

func (h *httpsRemote) post(ctx context.Context, body io.Reader, size int64) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.base+"/"+h.service, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/x-"+h.service+"-request")
	res, err := h.do(req, "application/x-"+h.service+"-result")
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

func (h *httpsRemote) fetch(ctx context.Context, s *Store, q query) error {
	var b bytes.Buffer
	if err := wantRequest(&b, h.caps, q); err != nil {
		return err
	}
	body, err := h.post(ctx, &b, int64(b.Len()))
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	return readPack(ctx, s, body, h.caps, q)
}

// push spools the request in the store's folder: many servers and proxies take no body of unknown length.
func (h *httpsRemote) push(ctx context.Context, s *Store, ref plumbing.ReferenceName, commit, old plumbing.Hash) error {
	f, err := os.CreateTemp(s.packFolder(), tempPrefix)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	defer func() { _ = f.Close(); _ = os.Remove(f.Name()) }()
	if err := pushRequest(ctx, f, s, ref, commit, old); err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	body, err := h.post(ctx, io.NopCloser(f), size)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	return readReport(body, ref)
}
