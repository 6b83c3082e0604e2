package peer

import (
	"context"
	"net/http"
	"time"
)

// callWithin is how long a node may take to read what it asked for beside its stream.
const callWithin = 2 * time.Minute

// call answers what a node asks beside the streams. Who does not read the answer holds nothing for long.
func (p *Peers) call(w http.ResponseWriter, r *http.Request, id string) {
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), callerKey{}, id), callWithin)
	defer cancel()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(callWithin))
	if err := control.SetWriteDeadline(time.Now().Add(callWithin)); err != nil {
		http.Error(w, "no deadline can be set", http.StatusInternalServerError)
		return
	}
	p.config.Handler.ServeHTTP(w, r.WithContext(ctx))
}
