package reconciler_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
)

func TestFindNamesTheNodeThatWasMeant(t *testing.T) {
	repo := schema.Repo{Roster: []schema.RosterLine{{Name: "web-1", State: schema.NodeActive}, {Name: "db-1", State: schema.NodeActive}}}
	_, err := reconciler.Find(repo, "wbe-1", "host", "debian")
	if !errors.Is(err, reconciler.ErrNoNode) || !strings.Contains(err.Error(), `no node "wbe-1" in the roster of 2 (did you mean "web-1"?)`) {
		t.Error(err)
	}
	if _, err := reconciler.Find(repo, "web-1", "host", "debian"); err != nil {
		t.Error(err)
	}
}
