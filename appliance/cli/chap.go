package cli

import (
	"io"
	"os"
	"strings"

	"ashlar/appliance/api"

	"github.com/urfave/cli/v2"
)

// setCHAP takes secrets from files only: every process sees a command line.
func setCHAP(c *cli.Context, n *api.Client) error {
	name, off := c.Args().First(), c.Bool("off")
	if off == c.IsSet("secret-file") || off && c.IsSet("mutual-secret-file") {
		return misuse("host chap: give either --secret-file FILE or --off")
	}
	if c.String("secret-file") == "-" && c.String("mutual-secret-file") == "-" {
		return misuse("host chap: only one of the secrets can come from stdin")
	}
	var in api.CHAP
	var err error
	if in.Secret, err = fileSecret(c, "secret-file"); err != nil {
		return err
	}
	if in.MutualSecret, err = fileSecret(c, "mutual-secret-file"); err != nil {
		return err
	}
	if err := n.SetCHAP(c.Context, name, in); err != nil {
		return err
	}
	if off {
		return done(c, struct{}{}, "host %q logs in without proving who it is", name)
	}
	return done(c, struct{}{}, "host %q has to prove who it is from its next login on", name)
}

// setDHCHAP takes secrets from files only, too.
func setDHCHAP(c *cli.Context, n *api.Client) error {
	name, off := c.Args().First(), c.Bool("off")
	if off == c.IsSet("secret-file") || off && c.IsSet("controller-secret-file") {
		return misuse("host dhchap: give either --secret-file FILE or --off")
	}
	if c.String("secret-file") == "-" && c.String("controller-secret-file") == "-" {
		return misuse("host dhchap: only one of the secrets can come from stdin")
	}
	var in api.DHCHAP
	var err error
	if in.Secret, err = fileSecret(c, "secret-file"); err != nil {
		return err
	}
	if in.ControllerSecret, err = fileSecret(c, "controller-secret-file"); err != nil {
		return err
	}
	if err := n.SetDHCHAP(c.Context, name, in); err != nil {
		return err
	}
	if off {
		return done(c, struct{}{}, "host %q connects without proving who it is", name)
	}
	return done(c, struct{}{}, "host %q has to prove who it is from its next connection on", name)
}

// fileSecret is the first line of the file that a flag names, empty without the flag.
func fileSecret(c *cli.Context, flag string) (string, error) {
	if !c.IsSet(flag) {
		return "", nil
	}
	in := c.App.Reader
	if name := c.String(flag); name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, secretMax))
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		return "", misuse("--%s: a secret is one line of text", flag)
	}
	return secret, nil
}
