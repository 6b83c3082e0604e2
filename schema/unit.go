package schema

// Unit is what the service manager says of a unit, in systemd's own words (systemctl(1), org.freedesktop.systemd1(5)).
type Unit struct {
	Name   string `json:"name"`
	Load   string `json:"load"`   // loaded, not-found, masked, error, bad-setting
	Active string `json:"active"` // active, reloading, inactive, failed, activating, deactivating
	Sub    string `json:"sub"`    // finer, by type of unit: running, exited, auto-restart
	File   string `json:"file"`   // enabled, disabled, static, masked, ...; empty where there is no file
}
