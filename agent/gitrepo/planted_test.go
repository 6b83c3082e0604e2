package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// planted packs a commit as a peer would, with objects that nobody asked for.
func planted(t *testing.T, from *Store, want, have string, more ...string) io.Reader {
	t.Helper()
	ctx := context.Background()
	list, err := between(ctx, from.objects(), plumbing.NewHash(want), plumbing.NewHash(have), trees)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range more {
		list = append(list, plumbing.NewHash(id))
	}
	var pack bytes.Buffer
	if err := writePack(ctx, &pack, from.objects(), list); err != nil {
		t.Fatal(err)
	}
	return &pack
}

// A peer that puts commits from before the bound into a pack moves the end of the history that is here, and makes no gap of it.
func TestAPeerThatPlantsCommitsFromBeforeTheBound(t *testing.T) {
	ctx, str := context.Background(), must[string](t)
	bare, work := origin(t)
	var c []string
	for i := range 7 {
		c = append(c, push(t, bare, work, map[string]string{"a": fmt.Sprint(i)}))
	}
	whole := open(t, Remote{URL: bare, Branch: "main"})
	str(whole.FetchWhole(ctx, "main"))
	for name, planting := range map[string][]string{"its parent": {c[2]}, "some before it": {c[1], c[2]}, "one with a gap": {c[0], c[2]}} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Remote{URL: bare, Branch: "main", Since: c[3]})
			if err := s.Ingest(ctx, planted(t, whole, c[5], c[2]), c[5], ""); err != nil {
				t.Fatal(err)
			}
			shallowIs(t, s, c[3])
			if err := s.Ingest(ctx, planted(t, whole, c[6], c[5], planting...), c[6], c[5]); err != nil {
				t.Fatal(err)
			}
			end := planting[len(planting)-1]
			if name == "some before it" {
				end = c[1]
			}
			shallowIs(t, s, end)
			src, unknown := s.Source(), strings.Repeat("1", 40)
			if !s.Bounded() || !src.Ends(end) || s.Goes("", unknown) {
				t.Errorf("with a gap before %s: bounded %v, an end %v, goes back to what is not here %v", end, s.Bounded(), src.Ends(end), s.Goes("", unknown))
			}
			// The same after a start.
			s = must[*Store](t)(OpenStore(s.dir, Remote{URL: bare, Branch: "main", Since: c[3]}))
			shallowIs(t, s, end)
			// All that was before comes of the remote, where that gives it: then there is no end.
			all := planted(t, whole, c[6], "")
			if err := s.Ingest(ctx, all, c[6], c[5]); err != nil {
				t.Fatal(err)
			}
			shallowIs(t, s)
		})
	}
}
