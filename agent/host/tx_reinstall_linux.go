package host

import "github.com/dunlin-dev/dunlin/schema"

// reinstall unpacks again what dpkg says must be unpacked again, and reports whether there was any: a power cut left the
// package's own files in doubt. dpkg refuses to configure such a package, and `apt-get -f install` does not see it. Its
// version stays what it is; where the archives no longer have that version it stays broken until a newer one is approved.
func (w *worker) reinstall() (any bool, err error) {
	have, _, err := readPackages(w.ctx)
	if err != nil {
		return false, err
	}
	for _, st := range have {
		if !st.Reinstall || w.ctx.Err() != nil {
			continue
		}
		name, err := aptArgument(schema.PackageRef{Name: st.Name, Arch: st.Arch, Version: st.Version}, false)
		if err != nil {
			return any, err
		}
		any = true
		w.say("dpkg was interrupted before: unpacking " + st.Name + " again")
		// Whether it worked is seen by configuring once more.
		if _, err := w.run("apt-get", append(aptOptions(w.intent.LockTimeout), "--no-remove", "--reinstall", "install", name)); err != nil {
			return any, err
		}
	}
	return any, nil
}
