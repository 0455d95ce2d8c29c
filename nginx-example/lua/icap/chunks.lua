--- The chunked coding of RFC 9112 §7.1, which ICAP uses for every body. Streams inside a chunk, whatever its size.

local find, format, match = string.find, string.format, string.match

local _M = {
    LAST = "0\r\n\r\n",
    -- RFC 3507 §4.5: the preview was the whole body.
    LAST_IEOF = "0; ieof\r\n\r\n",
}

local LINE_MAX_BYTES = 4096
local TRAILERS_MAX_BYTES = 16384
local CRLF = "\r\n"

--- What to send for one piece: a table for cosockets' send, so that the piece is not copied.
function _M.frame(piece)
    return { format("%x\r\n", #piece), piece, CRLF }
end

local function chunk_size(reader)
    local line, err = reader:line(LINE_MAX_BYTES)
    if not line then
        return nil, err
    end
    -- Twelve digits are 256 TiB, and exact in a Lua number. Extensions are legal, and none of them concerns us.
    local digits, after = match(line, "^0*(%x*)[ \t]*(.?)")
    if not find(line, "^%x") or #digits > 12 or (after ~= "" and after ~= ";") then
        return nil, "a malformed chunk size"
    end
    return digits == "" and 0 or tonumber(digits, 16)
end

local function skip_trailers(reader)
    local left = TRAILERS_MAX_BYTES
    repeat
        local line, err = reader:line(left)
        if not line then
            return nil, err
        end
        left = left - #line - #CRLF
    until line == ""
    return true
end

--- A function that returns the next piece of the body; nil at its end; nil and an error.
function _M.decoder(reader, piece_max_bytes)
    local left, has_ended = 0, false
    return function()
        if has_ended then
            return nil
        end
        if left == 0 then
            local size, err = chunk_size(reader)
            if not size then
                return nil, err
            end
            if size == 0 then
                local ok, trailer_err = skip_trailers(reader)
                has_ended = ok
                return nil, trailer_err
            end
            left = size
        end
        local piece, err = reader:piece(math.min(left, piece_max_bytes))
        if not piece then
            return nil, err
        end
        left = left - #piece
        if left == 0 then
            local line, line_err = reader:line(LINE_MAX_BYTES)
            if line ~= "" then
                return nil, line_err or "a chunk longer than its size"
            end
        end
        return piece
    end
end

return _M
