raise RuntimeError("this is not numpy")
