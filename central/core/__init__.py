"""Pure decisions of the centre: values in, values out."""
