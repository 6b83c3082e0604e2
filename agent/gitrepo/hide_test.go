package gitrepo

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// What a server says is told to people and to other nodes, and some say what they were sent: none of it is the credential.
func TestErrorsAreWithoutTheCredential(t *testing.T) {
	const user, pass = "robot", "t0k3n/of+a&robot-which-is-long-enough-to-be-cut-where-a-text-is-shortened-so-that-only-its-beginning-is-there-0123456789"
	basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + pass))
	const kind = "application/x-git-upload-pack-advertisement"
	packet := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"an error packet": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = fmt.Fprint(w, packet("ERR no such token "+pass+"\n"))
		},
		"a cut one": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = fmt.Fprint(w, packet("ERR "+strings.Repeat("x", 150)+pass+"\n"))
		},
		"the header": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", r.Header.Get("Authorization"))
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://u:"+url.PathEscape(pass)+"@other.example/", http.StatusFound)
		},
		"a path": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://other.example/"+url.PathEscape(pass), http.StatusFound)
		},
		"a reason": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, pass, http.StatusTeapot) },
		"a broken reference": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = fmt.Fprint(w, packet(pass+"\n"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewTLSServer(http.HandlerFunc(answer))
			defer srv.Close()
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
			s := open(t, Remote{URL: srv.URL + "/o.git", Branch: "main", CredentialFile: file(t, []byte(user+":"+pass+"\n"), 0o600), CAFile: file(t, ca, 0o644)})
			_, err := s.Head(context.Background())
			if err == nil || !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrAuth) {
				t.Fatalf("Head = %v", err)
			}
			for _, form := range []string{pass[:12], basic[:12], url.PathEscape(pass)[:12], url.QueryEscape(pass)[:12]} {
				if strings.Contains(err.Error(), form) {
					t.Errorf("the error has %q of the credential: %v", form, err)
				}
			}
		})
	}
}
