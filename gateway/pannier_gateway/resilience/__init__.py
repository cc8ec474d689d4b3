"""What goes wrong between the gateway and a store, and is mended before the application sees it."""
