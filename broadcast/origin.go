package broadcast

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// origins is which web sites' pages may connect: see Config.Origins.
type origins []originRule

// originRule is one entry of the list.
type originRule struct {
	text   string // As browsers write it, in lower case: RFC 6454, section 6.2.
	suffix string // "*." in front of the host: what the host must end with; text is the scheme then.
}

// parseOrigins reads Config.Origins.
func parseOrigins(list []string) (all origins, err error) {
	var errs []error
	for _, text := range list {
		rule, err := parseOrigin(text)
		errs = append(errs, err)
		all = append(all, rule)
	}
	return all, errors.Join(errs...)
}

func parseOrigin(text string) (originRule, error) {
	if text == "null" {
		return originRule{text: text}, nil
	}
	u, err := url.Parse(strings.ToLower(text))
	if err != nil || u.Scheme == "" || u.Hostname() == "" || u.Opaque+u.Path+u.RawQuery+u.Fragment != "" || u.User != nil {
		return originRule{}, fmt.Errorf("broadcast: Config.Origins has %q, want https://example.com, https://example.com:8443, https://*.example.com or null", text)
	}
	host := u.Host
	// Browsers leave the default port out, RFC 6454, section 6.2.
	if port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]; port != "" {
		host = strings.TrimSuffix(host, port)
	}
	if domain, ok := strings.CutPrefix(host, "*"); ok {
		return originRule{text: u.Scheme + "://", suffix: domain}, nil
	}
	return originRule{text: u.Scheme + "://" + host}, nil
}

// allow says whether a page of the origin may connect.
func (o origins) allow(origin string) bool {
	origin = strings.ToLower(origin)
	for _, rule := range o {
		host, ok := strings.CutPrefix(origin, rule.text)
		if ok && (host == "" || rule.suffix != "" && len(host) > len(rule.suffix) && strings.HasSuffix(host, rule.suffix)) {
			return true
		}
	}
	return false
}

// check refuses a request that another site's page makes: a browser says whose page
// it is, and sends the user's cookies all the same (RFC 6455, section 10.2). What
// says nothing is no browser.
func (o origins) check(r *request) *Refusal {
	if len(o) == 0 || r.origins == 0 || r.origins == 1 && o.allow(string(r.origin)) {
		return nil
	}
	return &Refusal{http.StatusForbidden, "pages of this origin may not connect"}
}
