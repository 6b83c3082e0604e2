package load

import (
	"errors"
	"fmt"
	"slices"
)

// prepare readies a shape, and all that it is made of, for direct. It fails for what is in doubt.
func prepare(s *shape, seen map[*shape]bool) error {
	if seen[s] {
		return nil
	}
	seen[s] = true
	var errs []error
	if s.doubt != "" {
		errs = append(errs, errors.New(s.doubt))
	}
	next := slices.Concat(s.tuple, s.alts)
	if s.elem != nil {
		next = append(next, s.elem)
	}
	for _, f := range s.fields {
		next = append(next, f.s)
		if f.required {
			s.required++
		}
		s.tabled = s.tabled || f.table
	}
	for _, l := range s.labels {
		next = append(next, l.key, l.val)
		if k := l.key; k.kinds != kString || k.alts != nil || k.lookup != nil || k.doubt != "" {
			errs = append(errs, errors.New("a pattern of labels that is not about text"))
		}
	}
	if len(s.guards) > 4 {
		return fmt.Errorf("%d conditions in one struct", len(s.guards))
	}
	if len(s.guards) > 0 {
		for which := range 1 << len(s.guards) {
			t := *s
			t.guards, t.required, t.tabled = nil, 0, false
			u := &t
			for i, g := range s.guards {
				if which&(1<<i) != 0 {
					open := u.open
					u = unite(u, g.s)
					u.open = open
				}
			}
			s.guarded = append(s.guarded, u)
			next = append(next, u)
		}
	}
	if l := s.lookup; l != nil {
		l.chosen = map[string]*shape{}
		for _, f := range l.table.fields {
			u := *s
			u.lookup, u.required, u.tabled = nil, 0, false
			l.chosen[f.name] = and(&u, f.s)
			next = append(next, l.chosen[f.name])
		}
	}
	for _, n := range next {
		errs = append(errs, prepare(n, seen))
	}
	return errors.Join(errs...)
}
