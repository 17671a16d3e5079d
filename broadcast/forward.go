package broadcast

import "context"

// forward gives a message that was published here to Config.Forward.
func (srv *Server) forward(channel string, m Message) {
	if hook := srv.cfg.Forward; hook != nil {
		hook(channel, m)
	}
}

// DeliverForwarded is PublishTo for what another server has forwarded: this one does not forward it. With Config.Order
// it returns ErrOrder.
func (srv *Server) DeliverForwarded(ctx context.Context, channel string, m Message) error {
	if srv.cfg.Order != nil {
		return ErrOrder
	}
	_, err := srv.publishTo(ctx, channel, m)
	return err
}
