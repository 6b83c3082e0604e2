package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// answerTime is how long a request may take: a fetch from a slow remote is the longest.
const answerTime = 2 * time.Minute

// Limits of one request.
const (
	maxTypes   = 64  // inventory types
	maxTargets = 100 // targets
)

// callerKey is the request context's key of the caller's user.
type callerKey struct{}

// Serve answers on l until ctx ends, then lets requests under way end for up to
// five seconds. It closes l. Callers other than root and the agent's own user get ErrDenied.
func Serve(ctx context.Context, l net.Listener, b Backend) error {
	s := &http.Server{
		Handler:           handler(b),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      answerTime + 10*time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		// A caller whose credentials cannot be read is nobody.
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			user, err := peerUser(c)
			if err != nil {
				return ctx
			}
			return context.WithValue(ctx, callerKey{}, user)
		},
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if s.Shutdown(grace) != nil {
			s.Close()
		}
	})
	err := s.Serve(l)
	if !stop() {
		<-stopped
		return nil
	}
	return fmt.Errorf("serve %s: %w", l.Addr(), err)
}

// handler answers requests; each is one method of the backend.
func handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	get := func(path string, f func(*http.Request) (any, error)) { mux.HandleFunc("GET "+path, answer(f)) }
	get("/v1/status", func(*http.Request) (any, error) {
		s := b.Status()
		s.Refused = append([]schema.RefusedCommit{}, s.Refused...)
		for i := range s.Refused {
			s.Refused[i].Faults = some(s.Refused[i].Faults)
		}
		s.Reporter.Elected = some(s.Reporter.Elected)
		if s.Nodes == nil {
			s.Nodes = map[string]int{}
		}
		return s, nil
	})
	get("/v1/nodes", func(r *http.Request) (any, error) {
		meant, err := selected(b, r)
		if err != nil {
			return nil, err
		}
		all := []schema.NodeView{}
		for _, n := range b.Nodes() {
			if meant == nil || meant[n.Name] {
				all = append(all, n)
			}
		}
		return all, nil
	})
	get("/v1/compliance", func(r *http.Request) (any, error) {
		meant, err := selected(b, r)
		if err != nil {
			return nil, err
		}
		all := []schema.NodeCompliance{}
		for _, n := range b.Compliance() {
			if meant == nil || meant[n.Node] {
				n.Items = some(n.Items)
				all = append(all, n)
			}
		}
		return fitting(all, MaxAnswer), nil
	})
	get("/v1/explain", func(r *http.Request) (any, error) {
		q := r.URL.Query()
		x, err := b.Explain(r.Context(), q.Get("node"), q.Get("item"), q.Get("all") == "true")
		x.Types, x.Items = some(x.Types), some(x.Items)
		return x, err
	})
	get("/v1/scan", func(r *http.Request) (any, error) {
		p, err := b.Scan(r.Context())
		p.Judgement.Patches = some(p.Judgement.Patches)
		return p, err
	})
	get("/v1/account", func(*http.Request) (any, error) {
		a := b.Account()
		a.Changes = some(a.Changes)
		return a, nil
	})
	get("/v1/lines", func(*http.Request) (any, error) { return some(b.Lines()), nil })
	get("/v1/records", func(*http.Request) (any, error) { return some(b.ArchiveRecords()), nil })
	get("/v1/joins", func(*http.Request) (any, error) { return some(b.Joins()), nil })
	get("/v1/facts", func(r *http.Request) (any, error) { return b.Facts(r.Context(), r.URL.Query().Get("digest")) })
	get("/v1/inventory", func(r *http.Request) (any, error) {
		q := r.URL.Query()
		if len(q["type"]) > maxTypes {
			return nil, fmt.Errorf("inventory: %d types are more than %d", len(q["type"]), maxTypes)
		}
		return b.Inventory(r.Context(), q.Get("node"), q["type"])
	})
	mux.HandleFunc("POST /v1/sync", answer(func(r *http.Request) (any, error) { return b.Sync(r.Context()) }))
	return mux
}

// selected are the names that a request's targets mean; nil means all.
func selected(b Backend, r *http.Request) (map[string]bool, error) {
	targets := r.URL.Query()["target"]
	if len(targets) > maxTargets {
		return nil, fmt.Errorf("%d targets are more than %d", len(targets), maxTargets)
	}
	if len(targets) == 0 {
		return nil, nil
	}
	return b.Select(targets)
}

// fitting leaves out items, and counts them, until all nodes are within most bytes.
func fitting(all []schema.NodeCompliance, most int) []schema.NodeCompliance {
	const entry, item = 300, 60 // what JSON adds, at most
	for limit := 64; ; limit /= 4 {
		size := 0
		for i := range all {
			n := &all[i]
			if over := len(n.Items) - limit; over > 0 {
				n.Items, n.More = n.Items[:limit:limit], n.More+over
			}
			size += entry + len(n.Node)
			for _, it := range n.Items {
				size += item + 2*(len(it.ID)+len(it.State)+len(it.Reason)) // twice: some is escaped
			}
		}
		if size <= most || limit == 0 {
			return all
		}
	}
}

// answer looks at who calls, then writes what f gives, or its error.
func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, known := r.Context().Value(callerKey{}).(int)
		if !known || user != 0 && user != os.Geteuid() {
			who := "a caller that the system does not name"
			if known {
				who = fmt.Sprintf("user %d", user)
			}
			refuse(w, fmt.Errorf("%s is neither root nor the agent's own user: %w", who, ErrDenied))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), answerTime)
		defer cancel()
		v, err := f(r.WithContext(ctx))
		if err != nil {
			refuse(w, err)
			return
		}
		b, err := json.Marshal(v)
		if err != nil {
			refuse(w, fmt.Errorf("encode answer: %w", err))
			return
		}
		if len(b) > MaxAnswer {
			refuse(w, fmt.Errorf("the answer's %d bytes are more than %d", len(b), MaxAnswer))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b) // the caller has gone where this fails
	}
}

// refuse writes an error and its name.
func refuse(w http.ResponseWriter, err error) {
	f, status := failure{Error: err.Error()}, http.StatusInternalServerError
	for _, c := range codes {
		if errors.Is(err, c.err) {
			f.Code, status = c.name, c.status
			break
		}
	}
	b, _ := json.Marshal(f) // two strings always encode
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// some is list, never nil: an empty list is [] in JSON.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
