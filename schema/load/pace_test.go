package load

import "testing"

func TestCollectorRestsWhileThereIsRoom(t *testing.T) {
	(*pacer)(nil).pace() // does nothing
	p := &pacer{room: 100 << 20}
	for _, tt := range []struct {
		alive uint64
		want  int
	}{
		{0, 400},
		{20 << 20, 400},
		{25 << 20, 300},
		{50 << 20, 100},
		{71 << 20, childGC}, // 40.8
		{72 << 20, childGC}, // 38.9
		{100 << 20, childGC},
		{1 << 40, childGC},
	} {
		if got := p.garbage(tt.alive); got != tt.want {
			t.Errorf("garbage(%d MiB) = %d%%, want %d%%", tt.alive>>20, got, tt.want)
		}
	}
}
