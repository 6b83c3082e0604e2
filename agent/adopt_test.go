package agent

import (
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestARefusalIsSaidOnceAMinute(t *testing.T) {
	var s refusalSaid
	start := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	faulty := []schema.Fault{{Message: "wrong"}}
	for i, tt := range []struct {
		after   time.Duration
		refused schema.RefusedCommit
		again   bool
	}{
		{0, schema.RefusedCommit{Commit: "a", Reason: "it does not follow on b"}, false},
		{time.Second, schema.RefusedCommit{Commit: "a", Reason: "it does not follow on c"}, true},
		{2 * time.Second, schema.RefusedCommit{Commit: "a", Faults: faulty}, false},
		{3 * time.Second, schema.RefusedCommit{Commit: "a", Kind: "rewind"}, false},
		{4 * time.Second, schema.RefusedCommit{Commit: "b", Kind: "rewind"}, false},
		{63 * time.Second, schema.RefusedCommit{Commit: "b", Kind: "rewind"}, true},
		{64 * time.Second, schema.RefusedCommit{Commit: "b", Kind: "rewind"}, false}, // put back once more
	} {
		if got := s.again(&tt.refused, start.Add(tt.after)); got != tt.again {
			t.Errorf("%d: again = %v, want %v", i, got, tt.again)
		}
	}
}
