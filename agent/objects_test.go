package agent

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// drip gives so many bytes each second.
type drip struct {
	ctx   context.Context
	bytes int
}

func (d drip) Read(b []byte) (int, error) {
	if !sleep(d.ctx, time.Second) {
		return 0, d.ctx.Err()
	}
	return min(d.bytes, len(b)), nil
}

func TestATransferThatDripsIsGivenUp(t *testing.T) {
	for _, tt := range []struct {
		bytes int
		lasts time.Duration
	}{{1, stalled}, {100, stalled}, {leastFlow, takeTime}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), takeTime)
			defer cancel()
			stop := time.AfterFunc(stalled, cancel)
			defer stop.Stop()
			start := time.Now()
			_, _ = io.Copy(io.Discard, &alive{Reader: drip{ctx, tt.bytes}, stop: stop})
			if d := time.Since(start); d != tt.lasts {
				t.Errorf("%d bytes a second: it lasts %s, want %s", tt.bytes, d, tt.lasts)
			}
		})
	}
}
